//! Why the command ends: one line for the user, and an exit code for whoever restarts it.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// An error as the user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether another start may go better.
    pub blame: Blame,
    /// What is wrong and what to do, in one line.
    pub line: String,
}

/// What has to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The command or a file that a person wrote: a restart does not help. Exit code 2.
    Given,
    /// The machine's state: a port, a disk, a permission. Exit code 1.
    Machine,
}

impl Failure {
    /// What a person wrote is wrong.
    pub fn given(line: impl fmt::Display) -> Self {
        Self { blame: Blame::Given, line: one_line(&line) }
    }

    /// The machine does not allow it now.
    pub fn machine(line: impl fmt::Display) -> Self {
        Self { blame: Blame::Machine, line: one_line(&line) }
    }

    /// A file named by a person cannot be read: it is missing ([`Blame::Given`]), or the machine
    /// refuses it.
    pub fn unreadable(file: &Path, error: &io::Error) -> Self {
        let line = format!("{}: cannot be read: {error}", file.display());
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::InvalidData => {
                Self::given(line)
            }
            _ => Self::machine(line),
        }
    }

    /// 1 or 2.
    pub fn code(&self) -> u8 {
        match self.blame {
            Blame::Machine => 1,
            Blame::Given => 2,
        }
    }

    /// The same for `main`.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kedgemq: {}", self.line)
    }
}

/// Texts of libraries may have several lines.
fn one_line(text: &impl fmt::Display) -> String {
    text.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
