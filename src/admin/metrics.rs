//! The core's counters and gauges under the names that are told.

use super::call::Answer;
use super::call::metrics::Metrics;
use crate::dead_reason::DeadReason;
use crate::server::Handle;

/// All of them, of one moment.
pub(super) fn all(server: &Handle) -> Answer {
    let (counters, gauges) = server.metrics();
    let dead = DeadReason::ALL.into_iter().zip(counters.dead);
    Answer::Metrics(Box::new(Metrics {
        dead_letters_total: dead.map(|(reason, count)| (reason.as_str().into(), count)).collect(),
        dead_letters_dropped_total: counters.dead_dropped,
        dead_letters_aged_out_total: counters.dead_aged_out,
        dead_letters: gauges.dead_letters,
        dead_letter_bytes: gauges.dead_letter_bytes,
        dead_letter_oldest_seconds: gauges.dead_letter_oldest_seconds,
        clients_connected: counters.clients_connected,
        sessions: gauges.sessions,
        packets_received_total: counters.packets_received,
        packets_sent_total: counters.packets_sent,
        messages_received_total: counters.messages_received,
        messages_sent_total: counters.messages_sent,
        qos0_dropped_total: counters.qos0_dropped,
        session_ended_total: counters.session_ended,
        unauthorized_publishes_total: counters.unauthorized_publishes,
        refused_publishes_total: counters.refused_publishes,
    }))
}
