//! The broker is killed again and again, at moments that a seed decides, while clients of both
//! versions publish and subscribe at QoS 1 and 2 in persistent sessions. In the end nothing that
//! was acknowledged is lost, nothing at QoS 2 came twice, and what came first came in order.
//!
//! `SEED=… cargo test --test soak` takes the same moments again, `KILLS=…` more of them.

#[allow(dead_code)] // Each test target uses its part of the harness.
#[path = "../harness/mod.rs"]
mod harness;

#[allow(dead_code)] // As of the harness.
#[path = "../client/mod.rs"]
mod client;

mod judge;
mod load;
mod stage;

use std::env;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use kedgemq::mqtt::Version;

use harness::Broker;
use load::Publisher;
use stage::Stage;

const KILLS: u64 = 100;
/// Publishers and subscribers, each: half of them speak 3.1.1.
const CLIENTS: usize = 4;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_doubled() {
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..));
    let kills = number("KILLS").unwrap_or(KILLS);
    println!("SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mut broker = Broker::start_plain();
    let stage = Arc::new(Stage::new(CLIENTS));
    stage.open(broker.plain());

    let subscribers: Vec<_> = (0..CLIENTS)
        .map(|index| {
            let stage = Arc::clone(&stage);
            thread::spawn(move || load::subscribe(&stage, index, version(index), CLIENTS))
        })
        .collect();
    stage.wait_subscribed();
    let publishers: Vec<_> = (0..CLIENTS)
        .map(|index| {
            let stage = Arc::clone(&stage);
            let random = random.fork();
            thread::spawn(move || Publisher::new(&stage, index, version(index), random).run())
        })
        .collect();

    for kill in 0..kills {
        wait_for_moment(&stage, &mut random);
        broker.kill();
        println!("kill {kill}: {}", stage.summary());
        // At times it does not get as far as to listen.
        if random.u8(..4) == 0 {
            broker.die_starting(Duration::from_micros(random.u64(..200_000)));
        }
        broker.restart();
        stage.open(broker.plain());
    }

    stage.finish();
    let published: Vec<_> = publishers.into_iter().map(|thread| thread.join().unwrap()).collect();
    for subscriber in subscribers {
        subscriber.join().unwrap().judge(&published);
    }
    println!("{}; {kills} kills, SEED={seed}", stage.summary());
}

/// Some progress, in one of eight cases none, and then a bit: commits take about as long.
fn wait_for_moment(stage: &Stage, random: &mut Rng) {
    let events = if random.u8(..8) == 0 { 0 } else { random.u64(1..4000) };
    let bit = Duration::from_micros(random.u64(..3000));
    stage.wait_progress(events, bit);
}

fn version(index: usize) -> Version {
    if index.is_multiple_of(2) { Version::V311 } else { Version::V5 }
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}
