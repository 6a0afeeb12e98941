//! A row of the table.

use kedgemq::mqtt::Version;

/// What is sent, when, and what has to come back.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its own.
    pub(crate) name: String,
    pub(crate) version: Version,
    /// The statement, or the section where it has no number. Numbers are those of 5.0 unless said.
    pub(crate) rule: &'static str,
    pub(crate) moment: Moment,
    /// See [`crate::notation`].
    pub(crate) bytes: String,
    pub(crate) answer: Answer,
}

/// When it is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Moment {
    /// First on a new connection, while the client `@` is connected on another.
    First,
    /// On the connection of the client `@`, which has a stored session with
    /// - a subscription of `keep` with QoS 2,
    /// - a PUBLISH of QoS 2 that it sent under 0063: PUBREC came, PUBREL is owed,
    /// - a PUBLISH of QoS 1 under 0001 that it has not acknowledged,
    /// - a PUBLISH of QoS 2 under 0002 that it has not acknowledged,
    /// - a PUBLISH of QoS 2 under 0003: PUBREL came, PUBCOMP is owed.
    Open,
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Answer {
    /// The connection ends: in 5.0 with this Reason Code, in a CONNACK when it was the first
    /// packet, else in a DISCONNECT; in 3.1.1 without a word.
    Ends(u8),
    /// It ends without a word in 5.0, too.
    Silence,
    /// It ends with a CONNACK of 3.1.1 and this Return Code.
    Returns(u8),
    /// Exactly this comes, and the connection goes on.
    Says(&'static str),
}

/// One row for each version; the Reason Code counts in 5.0 alone.
pub(crate) fn both(
    name: &str,
    rule: &'static str,
    moment: Moment,
    bytes: &str,
    answer: Answer,
) -> Vec<Row> {
    [v4(name, rule, moment, bytes, answer), v5(name, rule, moment, bytes, answer)].concat()
}

/// A row of MQTT 3.1.1.
pub(crate) fn v4(
    name: &str,
    rule: &'static str,
    moment: Moment,
    bytes: &str,
    answer: Answer,
) -> Vec<Row> {
    let name = format!("3.1.1: {name}");
    vec![Row { name, version: Version::V311, rule, moment, bytes: bytes.into(), answer }]
}

/// A row of MQTT 5.0.
pub(crate) fn v5(
    name: &str,
    rule: &'static str,
    moment: Moment,
    bytes: &str,
    answer: Answer,
) -> Vec<Row> {
    let name = format!("5.0: {name}");
    vec![Row { name, version: Version::V5, rule, moment, bytes: bytes.into(), answer }]
}
