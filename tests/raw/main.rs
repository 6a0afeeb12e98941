//! Bytes over a socket to the real binary: everything that a packet may do wrong, and every moment
//! at which it may come wrongly, in MQTT 3.1.1 and 5.0, with the answer that the specification
//! asks for. What is written here is no work of the product's own encoder.
//!
//! [`rows`] is the table, [`notation`] how its bytes are written, [`judge`] what is checked for
//! each of its rows. `moments` has what needs more than one packet to go wrong.

#[allow(dead_code)] // Each test target uses its part of the harness.
#[path = "../harness/mod.rs"]
mod harness;

mod flow;
mod judge;
mod limits;
mod moments;
mod notation;
mod row;
mod rows;
mod socket;

use std::collections::BTreeSet;

#[test]
fn each_row_has_its_answer_and_harms_nobody() {
    let failures = judge::judge(&rows::all());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn each_row_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for row in rows::all() {
        assert!(!row.rule.is_empty(), "{}: by which rule?", row.name);
        assert!(names.insert(row.name.clone()), "two rows are {}", row.name);
    }
}
