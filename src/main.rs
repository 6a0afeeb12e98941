//! The `kedgemq` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    kedgemq::app::main(std::env::args_os())
}
