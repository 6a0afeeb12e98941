//! The `kedgemq` command.

fn main() {}
