//! Password files in mosquitto's format: a line `user:hash` each, empty lines and `#` comments.
//!
//! Promise: a line that can't be used costs only its own user. Verifying is slow on purpose: it
//! happens on a clone of the hash, never under a lock.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use ring::digest::{Context, SHA512};
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA512};

use super::LineProblem;

/// Bytes of a `$6$` or `$7$` hash.
const SHA512_LEN: usize = 64;

/// More would block a CONNECT for over ten seconds.
const MAX_ITERATIONS: u32 = 10_000_000;

/// In KiB: more would cost one CONNECT over 1 GiB of memory.
const MAX_ARGON2_MEMORY: u32 = 1024 * 1024;

/// mosquitto pads its base64, argon2 does not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The users of a password file.
#[derive(Clone, Debug, Default)]
pub struct Passwords {
    users: BTreeMap<Box<str>, PasswordHash>,
}

impl Passwords {
    /// Reads a whole file. Lines that can't be used are reported, and the rest works.
    pub fn parse(text: &str) -> (Self, Vec<LineProblem>) {
        let mut users = BTreeMap::new();
        let mut problems = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let parsed = match parse_line(line) {
                Ok(None) => continue,
                Ok(Some((user, _))) if users.contains_key(user) => Err(format!(
                    "user \"{user}\" is there already: the first line counts, delete this one"
                )),
                other => other,
            };
            match parsed {
                Ok(parsed) => users.extend(parsed.map(|(user, hash)| (user.into(), hash))),
                Err(problem) => problems.push(LineProblem { line: index + 1, problem }),
            }
        }
        (Self { users }, problems)
    }

    /// The hash of a user's password; clone it and let go of the file before verifying.
    pub(crate) fn find(&self, user: &str) -> Option<&PasswordHash> {
        self.users.get(user)
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

/// What a password is compared with. A clone shares it.
#[derive(Clone)]
pub(crate) struct PasswordHash(Arc<Hash>);

/// Shows nothing of the hash: it may end up in a log.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl PasswordHash {
    /// Whether `password` is the right one. Takes milliseconds of CPU, the same for a right one and
    /// a wrong one.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        match &*self.0 {
            Hash::Sha512 { salt, key } => {
                let mut digest = Context::new(&SHA512);
                digest.update(password);
                digest.update(salt);
                same(digest.finish().as_ref(), key)
            }
            Hash::Pbkdf2 { iterations, salt, key } => {
                pbkdf2::verify(PBKDF2_HMAC_SHA512, *iterations, salt, password, key).is_ok()
            }
            Hash::Argon2id { version, params, salt, key } => {
                let mut computed = vec![0; key.len()];
                Argon2::new(Algorithm::Argon2id, *version, params.clone())
                    .hash_password_into(password, salt, &mut computed)
                    .is_ok_and(|()| same(&computed, key))
            }
        }
    }
}

/// The hashes, by the sign in front of them.
enum Hash {
    /// `$6$`: one round of SHA-512 over password and salt.
    Sha512 { salt: Vec<u8>, key: Vec<u8> },
    /// `$7$`: PBKDF2 with HMAC-SHA-512.
    Pbkdf2 { iterations: NonZeroU32, salt: Vec<u8>, key: Vec<u8> },
    /// `$argon2id$`.
    Argon2id { version: Version, params: Params, salt: Vec<u8>, key: Vec<u8> },
}

/// Compares in a time that says nothing about where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}

/// `None` for an empty line or a comment.
fn parse_line(line: &str) -> Result<Option<(&str, PasswordHash)>, String> {
    if line.trim().is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let Some((user, hash)) = line.split_once(':') else {
        return Err("no ':' between user name and hash: write it with `kedgemq passwd`".into());
    };
    let user = user.trim();
    if user.is_empty() {
        return Err("no user name in front of ':'".into());
    }
    match parse_hash(hash.trim()) {
        Ok(hash) => Ok(Some((user, PasswordHash(Arc::new(hash))))),
        Err(why) => {
            Err(format!("{why}: set the password of \"{user}\" again with `kedgemq passwd`"))
        }
    }
}

fn parse_hash(text: &str) -> Result<Hash, String> {
    let fields: Vec<&str> = text.split('$').collect();
    match fields[..] {
        ["", "6", salt, key] => {
            Ok(Hash::Sha512 { salt: decode(salt, "salt")?, key: sha512_key(key)? })
        }
        ["", "7", iterations, salt, key] => Ok(Hash::Pbkdf2 {
            iterations: iterations_of(iterations)?,
            salt: decode(salt, "salt")?,
            key: sha512_key(key)?,
        }),
        ["", "argon2id", params, salt, key] => argon2id("v=16", params, salt, key),
        ["", "argon2id", version, params, salt, key] => argon2id(version, params, salt, key),
        ["", "6" | "7" | "argon2id", ..] => Err("the hash is cut off or has too many parts".into()),
        ["", kind, ..] => Err(format!("unknown hash ${kind}$ (known are $6$, $7$ and $argon2id$)")),
        _ => Err("not a hash but plain text".into()),
    }
}

fn iterations_of(text: &str) -> Result<NonZeroU32, String> {
    match text.parse::<NonZeroU32>() {
        Ok(iterations) if iterations.get() <= MAX_ITERATIONS => Ok(iterations),
        _ => Err(format!("the iterations are not a number from 1 to {MAX_ITERATIONS}")),
    }
}

fn argon2id(version: &str, params: &str, salt: &str, key: &str) -> Result<Hash, String> {
    let version = match version {
        "v=16" => Version::V0x10,
        "v=19" => Version::V0x13,
        _ => return Err(format!("unknown argon2 version {version}")),
    };
    let key = decode(key, "hash")?;
    let params = argon2_params(params, key.len())
        .ok_or("the argon2 parameters are not m=…,t=…,p=… within their limits")?;
    let salt = decode(salt, "salt")?;
    if salt.len() < argon2::MIN_SALT_LEN {
        return Err("the salt is too short".into());
    }
    Ok(Hash::Argon2id { version, params, salt, key })
}

fn argon2_params(text: &str, key_len: usize) -> Option<Params> {
    let (m, rest) = text.strip_prefix("m=")?.split_once(",t=")?;
    let (t, p) = rest.split_once(",p=")?;
    let memory = m.parse().ok().filter(|m| *m <= MAX_ARGON2_MEMORY)?;
    Params::new(memory, t.parse().ok()?, p.parse().ok()?, Some(key_len)).ok()
}

fn sha512_key(text: &str) -> Result<Vec<u8>, String> {
    let key = decode(text, "hash")?;
    if key.len() == SHA512_LEN {
        Ok(key)
    } else {
        Err(format!("the hash has {} bytes, not 64", key.len()))
    }
}

fn decode(text: &str, what: &str) -> Result<Vec<u8>, String> {
    BASE64.decode(text).map_err(|_| format!("the {what} is not base64"))
}

/// What keeps a name from being a user of a password file, if anything.
pub(crate) fn user_name_problem(user: &str) -> Option<&'static str> {
    if user.is_empty() {
        Some("a user name has at least one character")
    } else if user.contains(':') || user.chars().any(char::is_control) {
        Some("a user name has no ':' and no control characters")
    } else if user.starts_with('#') {
        Some("a user name does not start with '#', which starts a comment")
    } else if user.trim() != user {
        Some("a user name does not start or end with a space")
    } else {
        None
    }
}

/// The line of a user, with a `$7$` hash as mosquitto reads it; it writes 101 iterations itself.
/// 0 iterations are 1.
///
/// # Panics
/// When there is a [`user_name_problem`].
pub(crate) fn hash_line(user: &str, password: &[u8], salt: &[u8; 12], iterations: u32) -> String {
    assert_eq!(user_name_problem(user), None, "checked by the caller");
    let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    let mut key = [0; SHA512_LEN];
    pbkdf2::derive(PBKDF2_HMAC_SHA512, rounds, salt, password, &mut key);
    let salt = BASE64_STANDARD.encode(salt);
    let key = BASE64_STANDARD.encode(key);
    format!("{user}:$7${rounds}${salt}${key}")
}

/// The file with `line` in place of the user's line, or behind all others. Everything else stays
/// as it is.
pub(crate) fn with_user(text: &str, user: &str, line: &str) -> String {
    let mut edited = String::with_capacity(text.len() + line.len() + 2);
    let mut written = false;
    for old in text.split_inclusive('\n') {
        if !is_line_of(old, user) {
            edited.push_str(old);
        } else if !written {
            edited.push_str(line);
            edited.push_str(line_end(old));
            written = true;
        }
    }
    if !written {
        if !edited.is_empty() && !edited.ends_with('\n') {
            edited.push('\n');
        }
        edited.push_str(line);
        edited.push('\n');
    }
    edited
}

/// The file without the user; `None` when it has no such user.
pub(crate) fn without_user(text: &str, user: &str) -> Option<String> {
    let lines = text.split_inclusive('\n');
    let edited: String = lines.filter(|line| !is_line_of(line, user)).collect();
    (edited.len() < text.len()).then_some(edited)
}

fn is_line_of(line: &str, user: &str) -> bool {
    let name = line.split_once(':').map(|(name, _)| name.trim());
    !line.starts_with('#') && name == Some(user)
}

fn line_end(line: &str) -> &str {
    if line.ends_with("\r\n") { "\r\n" } else { "\n" }
}

#[cfg(test)]
mod tests;
