//! Who a client is and what it may do.

use std::sync::Arc;

/// What is known of a client when its CONNECT reaches the core: passwords and certificates were
/// checked before, outside of the core's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User Name, or the Common Name of the client certificate where the listener says so.
    pub user: Option<Arc<str>>,
    /// Whether it may connect.
    pub admission: Admission,
}

/// What checking the credentials gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may connect.
    Granted,
    /// Unknown user, or wrong password.
    BadUserNameOrPassword,
    /// No credentials where some are needed.
    NotAuthorized,
}
