//! Messages for sessions that are away, and their coming back.

use crate::broker::Broker;
use crate::exchange::{Exchange, Shape};
use crate::generator::Failure;
use crate::measure::{Meter, Sample};

/// What is published to sessions that are away, then what they take when they are back.
pub(crate) fn measure(
    shape: Shape,
    broker: &Broker,
    messages: u64,
) -> Result<[Sample; 2], Failure> {
    let mut exchange = Exchange::new(shape, broker, messages)?;
    exchange.subscribe()?;
    exchange.leave()?;
    exchange.connect_publishers()?;
    let messages = exchange.state.messages();
    let meter = Meter::start(broker)?;
    exchange.run_until(|state| state.is_published())?;
    let published = meter.stop(broker, messages)?;
    let meter = Meter::start(broker)?;
    exchange.come_back()?;
    exchange.run_until(|state| state.is_delivered())?;
    let drained = meter.stop(broker, messages)?;
    exchange.expect_no_more()?;
    Ok([published, drained])
}
