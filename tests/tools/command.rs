//! `kedgemq` run to its end.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

/// What became of it.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs it with these arguments.
pub(crate) fn kedgemq<A: AsRef<OsStr>>(arguments: &[A]) -> Ended {
    end(Command::new(env!("CARGO_BIN_EXE_kedgemq")).args(arguments))
}

/// Runs `kedgemq store …`; it must go well. Gives its stdout.
pub(crate) fn store<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    let ended = end(Command::new(env!("CARGO_BIN_EXE_kedgemq")).arg("store").args(arguments));
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.stdout
}

/// Runs `kedgemq store …`, which must fail with this code and one line. Gives the line.
pub(crate) fn store_fails<A: AsRef<OsStr>>(code: i32, arguments: &[A]) -> String {
    let ended = end(Command::new(env!("CARGO_BIN_EXE_kedgemq")).arg("store").args(arguments));
    assert_eq!(ended.code, code, "{ended:?}");
    let line = ended.stderr.strip_suffix('\n').unwrap_or_default();
    assert!(line.starts_with("kedgemq: ") && !line.contains('\n'), "{ended:?}");
    line.to_owned()
}

pub(crate) fn end(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().expect("the binary is built");
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Ended {
        code: status.code().expect("no signal ended it"),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}
