//! What a round shows, and how it is read from the clocks of the processes.

use std::time::Instant;

use crate::broker::Broker;
use crate::proc::Process;

/// What is measured; its order is that of the output.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Figure {
    /// Messages delivered, or connections made, a second.
    Rate,
    /// CPU microseconds of the broker for each.
    Cpu,
    /// The most that was resident, in bytes.
    Peak,
    /// Bytes that the broker caused to be written to disk, for each.
    Written,
    /// CPU time of the one thread of the clients, as a part of the time that went by: at 1 they
    /// are what limits the rate.
    Generator,
    /// Resident bytes of each connection.
    Connection,
    /// Resident bytes of each thing that there are many of.
    Item,
    /// Milliseconds from when a message was meant to be sent until its subscriber had it.
    Median,
    P99,
    P999,
    /// The same until its publisher had the acknowledgement.
    AckMedian,
    AckP99,
    /// Milliseconds that the clients sent it late: part of the above.
    LateP99,
}

impl Figure {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rate => "per_second",
            Self::Cpu => "cpu_us",
            Self::Peak => "peak_bytes",
            Self::Written => "written_bytes",
            Self::Generator => "generator",
            Self::Connection => "connection_bytes",
            Self::Item => "item_bytes",
            Self::Median => "p50_ms",
            Self::P99 => "p99_ms",
            Self::P999 => "p999_ms",
            Self::AckMedian => "ack_p50_ms",
            Self::AckP99 => "ack_p99_ms",
            Self::LateP99 => "late_p99_ms",
        }
    }
}

/// The figures of one broker in one round.
pub(crate) struct Sample {
    /// Messages that were checked, or connections.
    pub(crate) count: u64,
    pub(crate) figures: Vec<(Figure, f64)>,
}

/// Runs while a load does.
pub(crate) struct Meter {
    start: Instant,
    cpu: f64,
    written: f64,
    own: f64,
}

impl Meter {
    pub(crate) fn start(broker: &Broker) -> Result<Self, String> {
        let (cpu, written) = (broker.process.cpu()?, broker.process.written()?);
        Ok(Self { own: Process::this().cpu()?, cpu, written, start: Instant::now() })
    }

    /// `count` is what was done meanwhile.
    pub(crate) fn stop(self, broker: &Broker, count: u64) -> Result<Sample, String> {
        let seconds = self.start.elapsed().as_secs_f64();
        let each = |now: f64, before: f64| (now - before) / count as f64;
        let figures = vec![
            (Figure::Rate, count as f64 / seconds),
            (Figure::Cpu, each(broker.process.cpu()?, self.cpu) * 1e6),
            (Figure::Peak, broker.process.memory()?.peak),
            (Figure::Written, each(broker.process.written()?, self.written)),
            (Figure::Generator, (Process::this().cpu()? - self.own) / seconds),
        ];
        Ok(Sample { count, figures })
    }
}
