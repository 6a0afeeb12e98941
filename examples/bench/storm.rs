//! Connections that come one after the other, a few at a time: TCP, with or without TLS, CONNECT,
//! CONNACK, DISCONNECT, and the broker's end of it.

use crate::broker::Broker;
use crate::generator::{CONNECTING, Failure, Generator, Input};
use crate::measure::{Meter, Sample};
use crate::wire::{self, CONNACK};

pub(crate) fn measure(broker: &Broker, connections: u64) -> Result<Sample, Failure> {
    let mut generator = Generator::new(broker.target.clone())?;
    let meter = Meter::start(broker)?;
    let (mut begun, mut ended) = (0, 0);
    // Whether the connection in each place was accepted.
    let mut accepted = Vec::new();
    let mut free = Vec::new();
    while ended < connections {
        while begun < connections && begun - ended < CONNECTING as u64 {
            let link = match free.pop() {
                Some(place) => generator.reopen(place)?,
                None => generator.open()?,
            };
            accepted.resize(accepted.len().max(link + 1), false);
            accepted[link] = false;
            wire::put_connect(&format!("storm-{begun}"), true, generator.output(link));
            begun += 1;
        }
        generator.turn(|link, input| match input {
            Input::Packet { first: CONNACK, body: [0, 0], output } => {
                accepted[link] = true;
                output.extend(wire::DISCONNECT);
                Ok(())
            }
            Input::Closed if accepted[link] => {
                ended += 1;
                free.push(link);
                Ok(())
            }
            _ => Err(Failure("a connection was refused".into())),
        })?;
    }
    Ok(meter.stop(broker, connections)?)
}
