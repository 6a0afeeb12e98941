//! Password and ACL files: read at start, again on SIGHUP, and by `kedgemq check`.

use std::path::Path;
use std::sync::Arc;

use super::failure::Failure;
use crate::auth::LineProblem;
use crate::auth::acl::Acl;
use crate::auth::password::Passwords;

/// The users of a file, and the lines of it that are not understood: their users cannot connect,
/// all others can.
pub(super) fn passwords(file: &Path) -> Result<(Arc<Passwords>, Vec<String>), Failure> {
    let (passwords, problems) = Passwords::parse(&read(file)?);
    let lines = problems.iter().map(|problem| located(file, problem)).collect();
    Ok((Arc::new(passwords), lines))
}

/// The rights of a file. One bad line makes all of it an error: a right that is left out may be
/// one that forbids.
pub(super) fn acl(file: &Path) -> Result<Acl, Failure> {
    Acl::parse(&read(file)?).map_err(|problem| Failure::given(located(file, &problem)))
}

fn located(file: &Path, problem: &LineProblem) -> String {
    format!("{}:{}: {}", file.display(), problem.line, problem.problem)
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| Failure::unreadable(file, &error))
}
