//! SIGKILL, SIGTERM and SIGSTOP under load, at moments that a seed decides.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;

use crate::harness::Broker;
use crate::judge::{Published, Received};
use crate::load::{self, Publisher};
use crate::stage::Stage;
use crate::{number, seed, version};

/// Of the normal run.
const ROUNDS: u64 = 42;
/// Publishers and subscribers, each.
const CLIENTS: usize = 4;

/// What happens to the process in a round.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGKILL, and again while it starts.
    KillTwice,
    /// SIGTERM: it ends by itself.
    Terminate,
    /// SIGTERM, and SIGKILL before it is done.
    TerminateAndKill,
    /// SIGSTOP for a while, SIGCONT.
    Stop,
    /// SIGSTOP, SIGKILL.
    StopAndKill,
    /// SIGSTOP, SIGTERM, SIGCONT: it ends by itself.
    StopAndTerminate,
}

/// Each comes as often as any other.
const BLOWS: [Blow; 7] = [
    Blow::Kill,
    Blow::KillTwice,
    Blow::Terminate,
    Blow::TerminateAndKill,
    Blow::Stop,
    Blow::StopAndKill,
    Blow::StopAndTerminate,
];

#[test]
fn no_signal_loses_what_was_acknowledged_or_doubles_what_is_exactly_once() {
    let mut random = Rng::with_seed(seed());
    let rounds = number("ROUNDS").unwrap_or(ROUNDS);
    let mut broker = Broker::start_plain();
    let stage = Arc::new(Stage::new(CLIENTS));
    stage.open(broker.plain());
    let clients = Clients::start(&stage, &mut random);

    let mut order = Vec::new();
    for round in 0..rounds {
        if order.is_empty() {
            order.extend(BLOWS);
            random.shuffle(&mut order);
        }
        let blow = order.pop().expect("it was filled");
        let events = if random.u8(..8) == 0 { 0 } else { random.u64(1..4000) };
        stage.wait_progress(events, Duration::from_micros(random.u64(..3000)));
        let ended = strike(blow, &mut broker, &stage, &mut random);
        println!("round {round}, {blow:?}: {}", stage.summary());
        if ended {
            broker.restart();
            expect_quiet_start(&broker);
            stage.open(broker.plain());
        }
    }

    clients.judge(&stage);
    println!("{} after {rounds} rounds", stage.summary());
}

/// Whether the broker is gone.
fn strike(blow: Blow, broker: &mut Broker, stage: &Stage, random: &mut Rng) -> bool {
    match blow {
        Blow::Kill => broker.kill(),
        Blow::KillTwice => {
            broker.kill();
            broker.die_starting(Duration::from_micros(random.u64(..200_000)));
        }
        Blow::Terminate => {
            broker.signal("TERM");
            expect_clean_end(broker);
        }
        Blow::TerminateAndKill => {
            broker.signal("TERM");
            broker.log().wait_end_for(Duration::from_micros(random.u64(..10_000)));
            broker.kill();
        }
        Blow::Stop => {
            stop_for_a_while(broker, random);
            let before = connections_ended(broker);
            broker.signal("CONT");
            stage.wait_progress(2000, Duration::ZERO);
            let after = connections_ended(broker);
            assert_eq!(after, before, "clients were thrown out because the process was stopped");
            return false;
        }
        Blow::StopAndKill => {
            stop_for_a_while(broker, random);
            broker.kill();
        }
        Blow::StopAndTerminate => {
            stop_for_a_while(broker, random);
            broker.signal("TERM");
            broker.signal("CONT");
            expect_clean_end(broker);
        }
    }
    true
}

fn stop_for_a_while(broker: &Broker, random: &mut Rng) {
    broker.signal("STOP");
    let ended = broker.log().wait_end_for(Duration::from_millis(random.u64(1..300)));
    assert!(!ended, "a stopped process cannot end");
}

fn expect_clean_end(broker: &mut Broker) {
    let status = broker.wait_exit();
    let log = broker.log().text();
    assert!(status.success(), "{status}, and its log:\n{log}");
    assert!(log.contains("stopped"), "it does not say that it stopped:\n{log}");
    assert!(!log.contains("ERROR"), "it stopped with an error:\n{log}");
}

/// Neither a killed nor a stopped broker leaves anything that the next one has to complain of.
fn expect_quiet_start(broker: &Broker) {
    let log = broker.log().text();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "it complains:\n{log}");
}

fn connections_ended(broker: &Broker) -> usize {
    broker.log().text().matches("disconnected").count()
}

/// The load.
struct Clients {
    publishers: Vec<JoinHandle<Published>>,
    subscribers: Vec<JoinHandle<Received>>,
}

impl Clients {
    fn start(stage: &Arc<Stage>, random: &mut Rng) -> Self {
        let subscriber = |index| {
            let stage = Arc::clone(stage);
            thread::spawn(move || load::subscribe(&stage, index, version(index), CLIENTS))
        };
        let subscribers = (0..CLIENTS).map(subscriber).collect();
        stage.wait_subscribed();
        let publisher = |index| {
            let stage = Arc::clone(stage);
            let random = random.fork();
            thread::spawn(move || Publisher::new(&stage, index, version(index), random).run())
        };
        Self { publishers: (0..CLIENTS).map(publisher).collect(), subscribers }
    }

    fn judge(self, stage: &Stage) {
        stage.finish();
        let published: Vec<_> = self
            .publishers
            .into_iter()
            .map(|thread| thread.join().expect("no client panicked"))
            .collect();
        for subscriber in self.subscribers {
            subscriber.join().expect("no client panicked").judge(&published);
        }
    }
}
