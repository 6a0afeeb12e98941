//! Whether the credentials of a CONNECT admit its client. Comparing a password takes milliseconds
//! of CPU, so it happens on threads of its own and few at a time, never under the core's lock.

use std::sync::{Arc, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::Access;
use crate::auth::password::PasswordHash;
use crate::auth::{Admission, Identity};
use crate::mqtt::packet::Connect;

/// What a client shows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    /// Common Name of a client certificate that was found good.
    pub(super) common_name: Option<String>,
    /// User Name.
    pub(super) user_name: Option<String>,
    /// Password.
    pub(super) password: Option<Vec<u8>>,
}

impl Credentials {
    /// What stands in the CONNECT, with the certificate's name.
    pub(super) fn new(common_name: Option<String>, connect: &Connect<'_>) -> Self {
        Self {
            common_name,
            user_name: connect.user_name.map(str::to_owned),
            password: connect.password.map(<[u8]>::to_vec),
        }
    }
}

/// What the credentials alone tell.
#[derive(Debug)]
enum Verdict {
    Known(Identity),
    /// The password decides.
    Compare(Arc<str>, Vec<u8>, PasswordHash),
}

/// Who the client is. `permits` bounds how many passwords are compared at once.
pub(super) async fn identify(
    access: &Access,
    credentials: Credentials,
    permits: &Semaphore,
) -> Identity {
    let (user, password, hash) = match verdict(access, credentials) {
        Verdict::Known(identity) => return identity,
        Verdict::Compare(user, password, hash) => (user, password, hash),
    };
    let Ok(_permit) = permits.acquire().await else {
        return refused(Admission::NotAuthorized);
    };
    match spawn_blocking(move || hash.verify(&password)).await {
        Ok(true) => granted(Some(user)),
        Ok(false) | Err(_) => refused(Admission::BadUserNameOrPassword),
    }
}

fn verdict(access: &Access, credentials: Credentials) -> Verdict {
    let Credentials { common_name, user_name, password } = credentials;
    if access.common_name_as_user
        && let Some(name) = common_name
    {
        return Verdict::Known(granted(Some(name.into())));
    }
    let user = user_name.map(Arc::<str>::from);
    let Some(passwords) = &access.passwords else {
        let by_certificate = access.certificate_required && !access.common_name_as_user;
        return Verdict::Known(admit_if(access.anonymous || by_certificate, user));
    };
    let Some(user) = user else {
        return Verdict::Known(admit_if(access.anonymous, None));
    };
    let passwords = Arc::clone(&passwords.read().unwrap_or_else(PoisonError::into_inner));
    match (passwords.find(&user), password) {
        (Some(hash), Some(password)) => Verdict::Compare(user, password, hash.clone()),
        _ => Verdict::Known(refused(Admission::BadUserNameOrPassword)),
    }
}

fn admit_if(admitted: bool, user: Option<Arc<str>>) -> Identity {
    if admitted { granted(user) } else { refused(Admission::NotAuthorized) }
}

fn granted(user: Option<Arc<str>>) -> Identity {
    let admission = Admission::Granted;
    Identity { user, admission }
}

fn refused(admission: Admission) -> Identity {
    let user = None;
    Identity { user, admission }
}

#[cfg(test)]
mod tests;
