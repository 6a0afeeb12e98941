//! Who a client is and what it may do.

use std::fmt;
use std::sync::Arc;

pub mod acl;
pub mod password;

pub use acl::{Access, Acl, Who};
pub use password::Passwords;

/// What is known of a client when its CONNECT reaches the core: passwords and certificates were
/// checked before, outside of the core's lock.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User Name, or the Common Name of the client certificate where the listener says so.
    pub user: Option<Arc<str>>,
    /// Whether it may connect.
    pub admission: Admission,
}

/// What checking the credentials gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Admission {
    /// It may connect.
    Granted,
    /// Unknown user, or wrong password.
    BadUserNameOrPassword,
    /// No credentials where some are needed.
    NotAuthorized,
}

/// What is wrong with a line of a password or ACL file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineProblem {
    /// Counted from 1.
    pub line: usize,
    /// In words.
    pub problem: String,
}

impl fmt::Display for LineProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for LineProblem {}
