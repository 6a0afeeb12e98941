//! What a message costs a broker that keeps many: in the queue of a session that is away, and
//! retained, where a new subscription looks for those that it matches.

use crate::broker::Broker;
use crate::generator::{Failure, Generator, Input, expect_open};
use crate::measure::{Figure, Meter, Sample};
use crate::wire::{self, PUBACK, PUBLISH, Publish, SUBACK, Template};

/// Messages in flight of the publisher.
const WINDOW: u64 = 100;
/// SUBSCRIBEs on their way.
const SUBSCRIBING: u64 = 50;
/// Bytes of a payload.
const SIZE: usize = 64;
/// Levels with the retained messages below them.
const LINES: u64 = 10;
/// What subscriptions to retained messages there are: without wildcards, with `+` in the middle,
/// with `#` at the end.
pub(crate) const SUBSCRIBES: [&str; 3] = ["exact", "plus", "rest"];

/// What one more message costs in a queue of this length, and then one of those that the session
/// takes when it is back.
pub(crate) fn queue(broker: &Broker, length: u64, more: u64) -> Result<[Sample; 2], Failure> {
    const TOPIC: &str = "scale/queue";
    let mut generator = Generator::new(broker.target.clone())?;
    let id = || ["subscriber".to_owned()];
    let away = generator.connect(id(), false)?[0];
    generator.subscribe(&[(away, vec![TOPIC.into()])], 1)?;
    generator.disconnect(&[away])?;
    let publisher = generator.connect(["publisher".into()], true)?[0];
    let before = broker.process.memory()?.resident;
    let template = Template::new(0, TOPIC, 1, SIZE, false);
    let mut put = |number, output: &mut Vec<u8>| template.put(number, output);
    publish(&mut generator, publisher, 0..length, &mut put)?;
    let resident = broker.process.memory()?.resident - before;
    let all = length + more;
    let meter = Meter::start(broker)?;
    publish(&mut generator, publisher, length..all, &mut put)?;
    let mut published = meter.stop(broker, more)?;
    published.figures.push((Figure::Item, resident / length as f64));

    let mut next = 0;
    let mut take = |input: Input| {
        let Input::Packet { first, body, output } = input else {
            return expect_open(&input);
        };
        if first & 0xF0 != PUBLISH {
            return expect_open(&Input::Packet { first, body, output });
        }
        let publish = Publish::parse(first, body);
        let publish = publish.filter(|one| one.stamp(SIZE) == Some((0, next)));
        let publish = publish.ok_or_else(|| Failure(format!("message {next} did not come")))?;
        publish.acknowledge(output);
        next += 1;
        Ok(())
    };
    let meter = Meter::start(broker)?;
    let back = generator.open()?;
    wire::put_connect(&id()[0], false, generator.output(back));
    let mut drained = 0;
    while drained < all {
        generator.turn(|_, input| {
            drained += u64::from(is_publish(&input));
            take(input)
        })?;
    }
    generator.ping(&[back], |_, input| take(input))?; // The last acknowledgements are there, too.
    let mut drained = meter.stop(broker, all)?;
    drained.figures.push((Figure::Item, resident / length as f64));
    Ok([published, drained])
}

/// What a SUBSCRIBE costs among so many retained messages, where it matches few.
pub(crate) fn retained(
    broker: &Broker,
    count: u64,
    subscribes: u64,
) -> Result<[Sample; 3], Failure> {
    let mut generator = Generator::new(broker.target.clone())?;
    let publisher = generator.connect(["publisher".into()], true)?[0];
    let before = broker.process.memory()?.resident;
    publish(&mut generator, publisher, 0..count, &mut |number, output| {
        let (line, machine) = (number % LINES, number / LINES);
        let topic = match machine {
            0 => format!("plant/{line}/total"),
            _ => format!("plant/{line}/{machine:06}/state"),
        };
        Template::new(0, &topic, 1, SIZE, true).put(number, output);
    })?;
    let resident = broker.process.memory()?.resident - before;
    let filters = [("plant/3/total", 1), ("plant/+/total", LINES), ("plant/3/000001/#", 1)];
    let mut samples = Vec::new();
    for (name, (filter, matches)) in SUBSCRIBES.iter().zip(filters) {
        let subscriber = generator.connect([(*name).into()], true)?[0];
        let meter = Meter::start(broker)?;
        let mut subscribed = 0;
        while subscribed < subscribes {
            let some = SUBSCRIBING.min(subscribes - subscribed);
            subscribe(&mut generator, subscriber, filter, some, matches)?;
            subscribed += some;
        }
        let mut sample = meter.stop(broker, subscribes)?;
        sample.figures.push((Figure::Item, resident / count as f64));
        samples.push(sample);
    }
    samples.try_into().map_err(|_| Failure("a sample is missing".into()))
}

/// Subscribes so many times, and takes what each brings.
fn subscribe(
    generator: &mut Generator,
    link: usize,
    filter: &str,
    times: u64,
    matches: u64,
) -> Result<(), Failure> {
    for _ in 0..times {
        wire::put_subscribe(&[filter.into()], 0, generator.output(link));
    }
    let (mut acknowledged, mut received) = (0, 0);
    let mut take = |input: Input| {
        acknowledged += u64::from(matches!(input, Input::Packet { first: SUBACK, .. }));
        received += u64::from(is_publish(&input));
        if !is_publish(&input) {
            expect_open(&input)?;
        }
        Ok::<_, Failure>((acknowledged, received))
    };
    let (all, mut is_done) = ((times, times * matches), false);
    while !is_done {
        generator.turn(|_, input| {
            is_done |= take(input)? == all;
            Ok(())
        })?;
    }
    generator.ping(&[link], |_, input| {
        let is_well = take(input)? == all;
        is_well.then_some(()).ok_or_else(|| Failure("a retained message came twice".into()))
    })
}

/// Publishes at QoS 1 what `put` makes of each number, until all are acknowledged.
pub(crate) fn publish(
    generator: &mut Generator,
    link: usize,
    numbers: std::ops::Range<u64>,
    put: &mut impl FnMut(u64, &mut Vec<u8>),
) -> Result<(), Failure> {
    let (mut sent, mut acknowledged) = (numbers.start, numbers.start);
    while acknowledged < numbers.end {
        let limit = numbers.end.min(acknowledged + WINDOW);
        for number in sent..limit {
            put(number, generator.output(link));
        }
        sent = limit;
        generator.turn(|_, input| {
            if matches!(input, Input::Packet { first: PUBACK, .. }) {
                acknowledged += 1;
                return Ok(());
            }
            expect_open(&input)
        })?;
    }
    Ok(())
}

fn is_publish(input: &Input) -> bool {
    matches!(input, Input::Packet { first, .. } if first & 0xF0 == PUBLISH)
}
