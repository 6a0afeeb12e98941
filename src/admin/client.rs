//! The command line's side of the socket.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::call::{Answer, Asked, Line, Progress, Request, VERSION};
use super::socket::{self, NAME};

/// A connection to a running broker.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Why a call came to nothing. Its text is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// No broker runs on that data directory.
    NotRunning {
        /// Its socket.
        path: PathBuf,
    },
    /// The socket is another user's.
    Permission {
        /// It.
        path: PathBuf,
    },
    /// The broker says no, and why.
    Refused(String),
    /// The connection failed, or the answer is not understood.
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        why: String,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning { path } => {
                write!(f, "no broker runs there: nobody listens on {}", path.display())
            }
            Self::Permission { path } => write!(
                f,
                "{}: permission denied: be the user that the broker runs as, or root",
                path.display()
            ),
            Self::Refused(why) => f.write_str(why),
            Self::Broken { path, why } => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for CallError {}

impl Client {
    /// Connects to the broker that runs on this data directory.
    pub fn connect(data: &Path) -> Result<Self, CallError> {
        let path = data.join(NAME);
        match socket::connect(data) {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream), path }),
            Err(error) => Err(match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                    CallError::NotRunning { path }
                }
                ErrorKind::PermissionDenied => CallError::Permission { path },
                _ => CallError::Broken { path, why: error.to_string() },
            }),
        }
    }

    /// Asks, tells `progress`, and gives the answer.
    pub fn call(
        &mut self,
        request: &Request,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Answer, CallError> {
        let asked = serde_json::to_string(&Asked { version: VERSION, request });
        let mut asked = asked.map_err(|error| self.broken(error))?;
        asked.push('\n');
        let sent = self.stream.get_mut().write_all(asked.as_bytes());
        sent.map_err(|error| self.broken(error))?;
        loop {
            match self.line()? {
                Line::Progress(now) => progress(now),
                Line::Ok(answer) => return Ok(answer),
                Line::Error(why) => return Err(CallError::Refused(why)),
            }
        }
    }

    fn line(&mut self) -> Result<Line, CallError> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err(self.broken("the broker hung up before it was done")),
            Ok(_) => serde_json::from_str(&line).map_err(|error| self.broken(error)),
            Err(error) => Err(self.broken(error)),
        }
    }

    fn broken(&self, why: impl ToString) -> CallError {
        CallError::Broken { path: self.path.clone(), why: why.to_string() }
    }
}
