//! Shared subscriptions: one copy for the group.

use crate::harness::Broker;
use crate::mosquitto::{self, Subscriber};

const JOBS: usize = 20;

#[test]
fn members_take_turns() {
    let broker = Broker::start();
    let member = |id| {
        let arguments = ["-V", "5", "-i", id, "-q", "2", "-t", "$share/crew/job/#"];
        Subscriber::start(&broker, "%p", &arguments)
    };
    let (first, second) = (member("first"), member("second"));
    publish_jobs(&broker);
    let mut came = first.messages(JOBS / 2);
    came.extend(second.messages(JOBS / 2));
    came.sort();
    assert_eq!(came, jobs());
}

/// The queue is the group's, and as durable as its members' sessions.
#[test]
fn the_backlog_of_a_group_survives_a_kill() {
    let mut broker = Broker::start();
    mosquitto::subscribe_and_leave(&broker, "5", "member", "$share/crew/job/#");
    publish_jobs(&broker);

    broker.kill();
    broker.restart();

    let mut arguments = mosquitto::persistent("5", "member");
    arguments.extend(["-q", "2", "-t", "$share/crew/job/#"]);
    let member = Subscriber::start(&broker, "%p", &arguments);
    assert_eq!(member.messages(JOBS), jobs());
}

fn jobs() -> Vec<String> {
    (0..JOBS).map(|number| format!("job {number:02}")).collect()
}

fn publish_jobs(broker: &Broker) {
    for job in jobs() {
        mosquitto::publish(broker, &["-q", "2", "-t", "job/a", "-m", &job]);
    }
}
