//! The README's sections for newcomers, read aloud to a shell: each command exactly as it stands
//! there, line by line, and what a `text` block says must be printed, and nothing else.
//!
//! What is not as on a newcomer's machine: the directory is a temporary one, so that `cargo` has
//! nothing to build there, and the ports are free ones. So two small scripts stand first in PATH.
//! `cargo` starts the program that it would build, which the test has built as it is, with free
//! ports; `mosquitto_sub` and `mosquitto_pub` call the real ones with the port that is meant by
//! 8883 or 1883, and by line, as if on a terminal. Times, ages and the host's name are not
//! compared.

#![expect(clippy::unwrap_used, reason = "all of it is test")]

#[allow(dead_code, unused_imports)] // Each test target uses its part of the harness.
#[path = "harness/mod.rs"]
mod harness;

#[path = "tutorial/desk.rs"]
mod desk;
#[path = "tutorial/page.rs"]
mod page;

use desk::Desk;
use page::{Block, section};

#[test]
fn a_newcomer_reads_the_readme() {
    let mut desk = Desk::new();
    follow(&mut desk, "Start it");
    desk.expect(&["hello/world Hello, world".to_owned()]);
    follow(&mut desk, "See a dead letter");
    desk.expect_begin("$dead/expired/demo/demo: hi (dl-id:");
    follow(&mut desk, "A tutorial: a pump's consumer chokes on a bad payload");
    // It looks at all of `$dead`, and so at what is rejected.
    for payload in ["4,9", "5,1"] {
        let topic = "$dead/rejected/pump-consumer/plant/pump-7/pressure";
        desk.expect_begin(&format!("{topic}: {payload} (dl-id:"));
    }
    desk.expect_silence();
}

fn follow(desk: &mut Desk, title: &str) {
    for block in section(title) {
        match block {
            Block::Commands(lines) => lines.iter().for_each(|line| desk.type_in(line)),
            Block::Output(lines) => desk.expect(&lines),
        }
    }
}
