//! The socket in the file system: its name, who may open it, and that it goes with its broker.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Its name in the data directory.
pub const NAME: &str = "kedgemq.sock";

/// A directory of its own, so that nobody can open the socket before it has its mode.
const NURSERY: &str = ".kedgemq.sock.new";

/// Bytes of a path that every system takes for a socket.
const LONGEST: usize = 100;

/// A bound socket; its name is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    id: (u64, u64),
}

impl Socket {
    /// Binds, with mode 0600, in place of one that a dead broker left. To be called only by who
    /// has the data file open: that proves that it is dead.
    pub(super) fn bind(data: &Path) -> io::Result<Self> {
        let path = data.join(NAME);
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::other("something else has this name"));
            }
            _ => {}
        }
        let nursery = data.join(NURSERY);
        let unnamed = nursery.join("s");
        // Left by a start that was killed right here.
        let _ = fs::remove_file(&unnamed);
        let _ = fs::remove_dir(&nursery);
        DirBuilder::new().mode(0o700).create(&nursery)?;
        let bound = bind_private(&nursery, &unnamed).and_then(|(listener, id)| {
            fs::rename(&unnamed, &path)?;
            Ok(Self { listener, path, id })
        });
        if bound.is_err() {
            let _ = fs::remove_file(&unnamed);
        }
        let _ = fs::remove_dir(&nursery);
        bound
    }
}

fn bind_private(nursery: &Path, unnamed: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    let short = Short::of(nursery, "s")?;
    let listener = UnixListener::bind(&short.path)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(unnamed, Permissions::from_mode(0o600))?;
    Ok((listener, id(unnamed)?))
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The next broker may have its own there already.
        if id(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Connects to the socket of a data directory.
pub(super) fn connect(data: &Path) -> io::Result<UnixStream> {
    let short = Short::of(data, NAME)?;
    UnixStream::connect(&short.path)
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// A path that is short enough for a socket, while this lives.
struct Short {
    path: PathBuf,
    _directory: Option<File>,
}

impl Short {
    fn of(directory: &Path, name: &str) -> io::Result<Self> {
        let path = directory.join(name);
        if path.as_os_str().len() <= LONGEST {
            return Ok(Self { path, _directory: None });
        }
        let directory = File::open(directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
        Ok(Self { path, _directory: Some(directory) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_replaces_a_stale_one_and_goes_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("d".repeat(150));
        for data in [directory.path(), &long] {
            fs::create_dir_all(data).unwrap();
            // Dropping a listener leaves its name, as a killed broker does.
            drop(UnixListener::bind(Short::of(data, NAME).unwrap().path).unwrap());
            assert!(connect(data).is_err());
            fs::create_dir(data.join(NURSERY)).unwrap();
            let socket = Socket::bind(data).unwrap();
            let mode = fs::metadata(data.join(NAME)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(!data.join(NURSERY).exists());
            connect(data).unwrap();
            drop(socket);
            assert!(!data.join(NAME).exists());
        }
    }

    #[test]
    fn nothing_else_is_replaced_or_removed() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join(NAME);
        fs::write(&name, "mine").unwrap();
        assert!(Socket::bind(directory.path()).is_err());
        assert_eq!(fs::read(&name).unwrap(), b"mine");
        fs::remove_file(&name).unwrap();
        let first = Socket::bind(directory.path()).unwrap();
        let second = Socket::bind(directory.path()).unwrap();
        drop(first);
        connect(directory.path()).unwrap();
        drop(second);
        assert!(!name.exists());
    }
}
