//! The examples as programs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds an example, as a test of its own is not enough for cargo to do it, and gives its path.
pub(crate) fn build(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--example", name]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    // What cargo tells its tests about us would have ring built anew.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(status.success(), "cargo could not build the example {name}");
    let binary = Path::new(env!("CARGO_BIN_EXE_kedgemq"));
    binary.with_file_name("examples").join(name)
}
