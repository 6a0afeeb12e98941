//! Many retained messages, and one subscription that matches them all.

use crate::broker::Broker;
use crate::generator::{Failure, Generator, Input, expect_open};
use crate::kept::publish;
use crate::measure::{Meter, Sample};
use crate::wire::{self, PUBLISH, Publish, Template};

/// Bytes of a payload.
const SIZE: usize = 64;

pub(crate) fn measure(broker: &Broker, messages: u64) -> Result<Sample, Failure> {
    let mut generator = Generator::new(broker.target.clone())?;
    retain(&mut generator, messages)?;
    let link = generator.connect(["subscriber".into()], true)?[0];
    let mut is_missing = vec![true; messages as usize];
    let mut missing = messages;
    let mut take = |input: Input| {
        let Input::Packet { first, body, .. } = &input else {
            return expect_open(&input).map(|()| false);
        };
        if first & 0xF0 != PUBLISH {
            return expect_open(&input).map(|()| false);
        }
        let publish = Publish::parse(*first, body).filter(|publish| publish.retain);
        let stamp = publish.and_then(|publish| publish.stamp(SIZE));
        let place = stamp.and_then(|(_, number)| is_missing.get_mut(number as usize));
        let is_missing = place.ok_or_else(|| Failure("a message is not what it was".into()))?;
        if !std::mem::take(is_missing) {
            return Err(Failure("a retained message came twice".into()));
        }
        missing -= 1;
        Ok(missing == 0)
    };
    let meter = Meter::start(broker)?;
    wire::put_subscribe(&["#".into()], 0, generator.output(link));
    let mut is_done = false;
    while !is_done {
        generator.turn(|_, input| {
            is_done |= take(input)?;
            Ok(())
        })?;
    }
    let sample = meter.stop(broker, messages)?;
    generator.ping(&[link], |_, input| take(input).map(|_| ()))?;
    Ok(sample)
}

/// One publisher makes them at QoS 1, each under its own topic.
fn retain(generator: &mut Generator, messages: u64) -> Result<(), Failure> {
    let link = generator.connect(["publisher".into()], true)?[0];
    publish(generator, link, 0..messages, &mut |number, output| {
        let topic = format!("plant/{}/{number}/state", number % 100);
        Template::new(0, &topic, 1, SIZE, true).put(number, output);
    })
}
