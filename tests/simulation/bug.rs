//! Deliberate bugs, to see that the checkers see. Each is made in the world around the core, so
//! that the product knows nothing of them.

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// PUBACK and PUBREC leave before the commit.
    AcknowledgesEarly,
    /// The received QoS 2 Packet Identifiers do not reach the disk.
    ForgetsReceived,
    /// PUBREL leaves before it is durable that PUBREC arrived.
    ReleasesEarly,
    /// The last record of some chunks does not reach the disk.
    LosesLastRecord,
    /// Chunks of the log go though acknowledgements in them are needed: the copies that they
    /// belong to are there again after a restart.
    CollectsNeeded,
    /// What leaves in one step leaves last in, first out.
    Lifo,
    /// The disk says yes to a sync and does nothing.
    SkipsSync,
    /// A session's Packet Identifiers begin anew after a restart, those that are taken among them.
    ReusesIdentifiers,
    /// Some copies that are dropped are not counted.
    ForgetsToCount,
    /// Time jumps with the clock on the wall.
    WallClockDrives,
    /// Whatever the wall clock says of a downtime is believed.
    TrustsDowntime,
    /// The core does not hear that a right to read was withdrawn.
    SkipsReadRight,
    /// The core does not hear that a right to publish was withdrawn.
    SkipsPublishRight,
    /// A redriven letter stays in the store.
    RedriveKeepsLetter,
}
