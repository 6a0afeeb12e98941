//! `kedgemq passwd`: writes the password file that listeners read.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use super::failure::Failure;
use crate::auth::password::{hash_line, user_name_problem, with_user, without_user};

/// Rounds of PBKDF2: about a hundredth of a second, at each CONNECT, on a small gateway.
const ITERATIONS: u32 = 10_000;

/// Sets the password of a user; the file is made when it is not there.
pub(super) fn set(file: &Path, user: &str) -> Result<(), Failure> {
    if let Some(problem) = user_name_problem(user) {
        return Err(Failure::given(format_args!("user {user:?}: {problem}")));
    }
    let file = target(file);
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| Failure::unreadable(&file, &error))?,
    };
    let password = ask(user)?;
    let mut salt = [0; 12];
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| Failure::machine("the system gives no random numbers"))?;
    let line = hash_line(user, password.as_bytes(), &salt, ITERATIONS);
    replace(&file, &with_user(&text, user, &line))
}

/// Deletes a user.
pub(super) fn delete(file: &Path, user: &str) -> Result<(), Failure> {
    let file = target(file);
    let text = fs::read_to_string(&file).map_err(|error| Failure::unreadable(&file, &error))?;
    match without_user(&text, user) {
        Some(text) => replace(&file, &text),
        None => Err(Failure::given(format_args!("{}: there is no user {user:?}", file.display()))),
    }
}

/// Twice from the terminal, without echo; once from a pipe.
fn ask(user: &str) -> Result<String, Failure> {
    let unread =
        |error: io::Error| Failure::machine(format_args!("the password cannot be read: {error}"));
    let password = if io::stdin().is_terminal() {
        let first = rpassword::prompt_password(format!("Password of {user}: ")).map_err(unread)?;
        let again = rpassword::prompt_password("Once more: ").map_err(unread)?;
        if first != again {
            return Err(Failure::given("the two passwords differ; nothing was changed"));
        }
        first
    } else {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map_err(unread)?;
        let end = line.trim_end_matches(['\r', '\n']).len();
        line.truncate(end);
        line
    };
    if password.is_empty() {
        return Err(Failure::given("an empty password protects nothing; nothing was changed"));
    }
    Ok(password)
}

/// What a symbolic link points to, so that the link stays one.
fn target(file: &Path) -> PathBuf {
    fs::canonicalize(file).unwrap_or_else(|_| file.to_owned())
}

/// Writes the file whole or not at all; owner and mode stay what they were.
fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    let mut part = file.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let written = write_part(file, &part, text).and_then(|()| fs::rename(&part, file));
    if let Err(error) = written {
        let _ = fs::remove_file(&part);
        return Err(Failure::machine(format_args!(
            "{}: cannot be written: {error}",
            file.display()
        )));
    }
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    // The new text is there; only a power cut at once could bring the old one back.
    let _ = fs::File::open(directory.unwrap_or_else(|| Path::new(".")))
        .and_then(|open| open.sync_all());
    Ok(())
}

fn write_part(file: &Path, part: &Path, text: &str) -> io::Result<()> {
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part)?;
    if let Ok(old) = fs::metadata(file) {
        // Root edits the broker's file: it has to stay readable for the broker.
        if (old.uid(), old.gid()) != (new.metadata()?.uid(), new.metadata()?.gid()) {
            chown(part, Some(old.uid()), Some(old.gid()))?;
        }
        new.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
    }
    new.write_all(text.as_bytes())?;
    new.sync_all()
}
