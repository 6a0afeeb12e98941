//! What a connection costs that does nothing.

use crate::broker::Broker;
use crate::generator::{Failure, Generator, expect_open};
use crate::measure::{Figure, Meter, Sample};

/// The first ones pay for what all share.
const FIRST: u64 = 100;

/// So many connections of MQTT 3.1.1 without a subscription; each answers a ping at the end.
pub(crate) fn measure(broker: &Broker, connections: u64) -> Result<Sample, Failure> {
    let mut generator = Generator::new(broker.target.clone())?;
    let ids = |range: std::ops::Range<u64>| range.map(|index| format!("idle-{index:05}"));
    let mut links = generator.connect(ids(0..FIRST), true)?;
    let before = broker.process.memory()?;
    let meter = Meter::start(broker)?;
    links.extend(generator.connect(ids(FIRST..FIRST + connections), true)?);
    let mut sample = meter.stop(broker, connections)?;
    let resident = broker.process.memory()?.resident - before.resident;
    sample.figures.push((Figure::Connection, resident / connections as f64));
    generator.ping(&links, |_, input| expect_open(&input))?;
    Ok(sample)
}
