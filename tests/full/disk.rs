//! A disk so small that it fills.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs, unmounted when this is dropped.
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one of `size` at `path`; `None` when this user may not.
    pub(crate) fn mount(path: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self { path: path.to_path_buf() })
    }

    /// Mounts it again, with this option.
    pub(crate) fn remount(&self, option: &str) {
        let mut command = Command::new("mount");
        let mounted = command.args(["-o", &format!("remount,{option}")]).arg(&self.path).status();
        assert!(mounted.expect("it was mounted").success());
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all space that is left, with a file of this name.
    pub(crate) fn fill(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        let mut file = File::create(&path).expect("a name needs no space here");
        while file.write_all(&[7; 4096]).is_ok() {}
        path
    }

    /// Gives it back. The space of a removed file may come back later only.
    pub(crate) fn free(&self, filler: &Path) {
        File::create(filler).expect("it is ours");
        fs::remove_file(filler).expect("it is ours");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The broker's directory could not go with it.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
        let _ = self.path.parent().map(fs::remove_dir_all);
    }
}
