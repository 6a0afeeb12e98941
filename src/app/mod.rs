//! The command: command line, configuration, start and stop.
//!
//! A command that fails says so in one line on stderr: with exit code 2 when a person has to
//! change something first, with 1 when the next start may go better.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

pub mod args;
pub mod config;
pub mod config_file;
pub mod failure;
pub mod greeting;
pub mod listener;
pub mod quantity;

mod ask;
mod check;
mod credentials;
mod dead;
mod log;
mod passwd;
mod run;
mod session;
mod start;
mod store;

use args::{Command, Parsed};
use config::Place;
use failure::Failure;

/// The whole command; the first argument is its own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match obey(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // With stderr gone there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}

fn obey(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Failure> {
    let line = match args::parse(arguments)? {
        Parsed::Do(line) => line,
        Parsed::Print(text) => {
            print(&text);
            return Ok(());
        }
    };
    match &line.command {
        None => run::run(&line.run, &place()?),
        Some(Command::Check { config }) => check::check(config, &place()?),
        Some(Command::Passwd { file, user, delete: true }) => passwd::delete(file, user),
        Some(Command::Passwd { file, user, delete: false }) => passwd::set(file, user),
        Some(Command::Store(line)) => store::obey(line, &place()?),
        Some(Command::Dead(line)) => dead::obey(line, &place()?),
        Some(Command::Session(line)) => session::obey(line, &place()?),
    }
}

fn place() -> Result<Place, Failure> {
    let directory = std::env::current_dir().map_err(|error| {
        Failure::machine(format_args!("the working directory cannot be found: {error}"))
    })?;
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    Ok(Place { directory, host })
}

/// To stdout; nobody has to read it.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
