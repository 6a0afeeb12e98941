//! Every sync fails from some moment on: nothing is acknowledged any more, the broker says why,
//! refuses what it cannot keep and goes on with the rest; it comes back by itself when the disk
//! does, and after its death with all that it acknowledged.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use kedgemq::mqtt::packet::Connect;
use kedgemq::mqtt::{QoS, ReasonCode, Reply};

use crate::by_hand::{Hand, publish, v5, v311};
use crate::harness::Broker;
use crate::owed;
use crate::refusal::{self, Publisher};
use crate::stage::Stage;
use crate::strace::Strace;
use crate::{seed, version};

/// Publishers and subscribers, each.
const CLIENTS: usize = 4;
/// What the broker says.
const FAILS: &str = "the store fails";
/// What it says when it is over.
const WORKS: &str = "the store works again";

/// How the failure ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The disk works again.
    Healed,
    /// SIGKILL, and a disk that works.
    Killed,
    /// SIGTERM while the disk fails, and then one that works.
    Terminated,
}

#[test]
fn it_refuses_while_syncs_fail_and_comes_back_with_the_disk() {
    fail_and(End::Healed);
}

#[test]
fn killed_while_syncs_fail_it_has_all_that_it_acknowledged() {
    fail_and(End::Killed);
}

#[test]
fn terminated_while_syncs_fail_it_says_so_and_has_all_that_it_acknowledged() {
    fail_and(End::Terminated);
}

fn fail_and(end: End) {
    let mut random = Rng::with_seed(seed());
    let mut broker = Broker::start_plain();
    // What the probes and the clients need first takes some thirty.
    let failing_from = random.u64(60..400);
    let Some(strace) = Strace::attach(&broker, Some(failing_from)) else {
        return;
    };
    let mut probes = Probes::connect(broker.plain());
    let stage = Arc::new(Stage::new(CLIENTS));
    stage.open(broker.plain());
    let subscriber = |index| {
        let stage = Arc::clone(&stage);
        thread::spawn(move || refusal::subscribe(&stage, index, version(index), CLIENTS))
    };
    let subscribers: Vec<_> = (0..CLIENTS).map(subscriber).collect();
    stage.wait_subscribed();
    let publisher = |index| {
        let stage = Arc::clone(&stage);
        thread::spawn(move || Publisher::new(&stage, index, version(index)).run())
    };
    let publishers: Vec<_> = (0..CLIENTS).map(publisher).collect();

    let line = broker.wait_for_log(FAILS);
    assert!(line.contains("ERROR") && line.contains("Input/output error"), "why? {line}");
    for index in 0..2 {
        broker.wait_for_log(&format!("publish refused client=\"publisher-{index}"));
    }
    probes.find_refusals(broker.plain());
    // It tries again and again meanwhile.
    let ended = broker.log().wait_end_for(Duration::from_millis(random.u64(..1500)));
    assert!(!ended, "it gave up");
    assert!(!broker.log().text().contains(WORKS), "it worked meanwhile");

    let calls = match end {
        End::Healed => {
            let calls = strace.detach();
            broker.wait_for_log(WORKS);
            probes.find_all_well();
            calls
        }
        End::Killed => {
            broker.kill();
            let calls = strace.detach();
            broker.restart();
            calls
        }
        End::Terminated => {
            broker.signal("TERM");
            let status = broker.wait_exit();
            let log = broker.log().text();
            assert!(!status.success(), "what was not acknowledged may be lost, but all is well?");
            assert!(log.contains("the last commit failed"), "it does not say so:\n{log}");
            let calls = strace.detach();
            broker.restart();
            calls
        }
    };
    judge_trace(&calls);

    // Those whose connections were closed, or who gave up, come back.
    stage.open(broker.plain());
    stage.wait_progress(500, Duration::ZERO);
    stage.finish();
    let outcomes: Vec<_> =
        publishers.into_iter().map(|thread| thread.join().expect("no client panicked")).collect();
    for subscriber in subscribers {
        let wrong = refusal::judge(&outcomes, &subscriber.join().expect("no client panicked"));
        assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    }
    let [accepted, refused, unsure] = refusal::counts(&outcomes);
    println!(
        "{end:?}, from sync {failing_from} on: {accepted} acknowledged, {refused} refused, \
         {unsure} refused when sent again"
    );
    // A refusal stays behind the acknowledgements that wait for the disk, in their order: a broker
    // that ends before tells nobody.
    assert!(refused > 0 || end != End::Healed, "nobody was refused, so nothing was tried");
}

/// Nothing was acknowledged that had no good sync: so nothing that came since the last one.
fn judge_trace(calls: &[crate::strace::Call]) {
    let findings = owed::judge(calls);
    println!("{} syncs failed; in time: {:?}", findings.failed_syncs, findings.judged);
    assert!(findings.early.is_empty(), "{:#?}", findings.early);
    assert!(findings.failed_syncs > 0, "no sync failed");
    assert!(findings.judged.len() == 7, "not all were there: {:?}", findings.judged);
}

/// Clients that are there before the disk fails.
struct Probes {
    v5: Hand,
    v311: Hand,
    /// Takes one message at a time; the first of its queue is here and not acknowledged.
    slow: Hand,
    /// Of QoS 0, in a transient session.
    transient: Hand,
}

impl Probes {
    fn connect(broker: SocketAddr) -> Self {
        let (v5, _) = Hand::connect(broker, self::v5("probe-5", 3600));
        let (v311, _) = Hand::connect(broker, self::v311("probe-4"));
        let one = Some(NonZeroU16::MIN);
        let connect = Connect { receive_maximum: one, ..self::v5("slow", 3600) };
        let (mut slow, _) = Hand::connect(broker, connect);
        assert_eq!(slow.subscribe("slow/#"), 2);
        let (mut transient, _) = Hand::connect(broker, self::v5("transient", 0));
        assert_eq!(transient.subscribe("zero/#"), 2);
        for id in 1..=3 {
            let topic = format!("slow/{id}");
            transient.publish_durably(publish(&topic, QoS::AtLeastOnce, id, None));
        }
        Self { v5, v311, slow, transient }
    }

    /// What is refused while the store fails, and what goes on.
    fn find_refusals(&mut self, broker: SocketAddr) {
        self.v5.publish("probe", QoS::AtLeastOnce, 1, None);
        match self.v5.next() {
            Reply::PubAck(ack) => assert_eq!(ack.reason, ReasonCode::QUOTA_EXCEEDED),
            other => panic!("no PUBACK but {other:?}"),
        }
        self.v5.publish("probe", QoS::ExactlyOnce, 2, None);
        match self.v5.next() {
            Reply::PubRec(ack) => assert_eq!(ack.reason, ReasonCode::QUOTA_EXCEEDED),
            other => panic!("no PUBREC but {other:?}"),
        }
        assert_eq!(self.v5.subscribe("probe/#"), ReasonCode::QUOTA_EXCEEDED.0);
        self.v311.publish("probe", QoS::AtLeastOnce, 1, None);
        let end = self.v311.try_next();
        assert!(end.is_err(), "3.1.1 cannot refuse, so it has to close, but: {end:?}");
        for connect in [v5("new-5", 3600), v311("new-4"), v311("probe-4")] {
            let (_, ack) = Hand::try_connect(broker, connect);
            assert_eq!(ack.reason, ReasonCode::SERVER_UNAVAILABLE);
        }

        // QoS 0 flows, and what is on disk is delivered.
        let (mut other, _) = Hand::connect(broker, v5("other", 0));
        other.publish("zero/here", QoS::AtMostOnce, 0, None);
        assert_eq!(&*self.transient.message().message.topic, "zero/here");
        for topic in ["slow/1", "slow/2", "slow/3"] {
            let message = self.slow.message();
            assert_eq!(&*message.message.topic, topic);
            self.slow.acknowledge(&message);
        }
    }

    /// The connections that lived through it go on.
    fn find_all_well(&mut self) {
        self.v5.publish_durably(publish("probe", QoS::AtLeastOnce, 3, None));
        assert_eq!(self.v5.subscribe("probe/#"), 2);
        assert!(self.slow.messages().is_empty(), "what was acknowledged came again");
    }
}
