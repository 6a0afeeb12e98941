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

/// With `hash_topic` a topic has one member.
#[test]
fn members_share_topics_where_the_configuration_says_so() {
    let broker = Broker::start_configured(|_| {
        "[[shared]]\nfilter = \"$share/crew/*\"\nstrategy = \"hash_topic\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\n"
            .to_owned()
    });
    let member = |version, id| {
        let arguments =
            ["-V", version, "-i", id, "-q", "1", "-t", "$share/crew/job/#", "-t", "end"];
        Subscriber::start(&broker, "%t", &arguments)
    };
    let members = [member("311", "first"), member("5", "second")];
    for _ in 0..2 {
        for number in 0..10 {
            let topic = format!("job/{number}");
            mosquitto::publish(&broker, &["-q", "1", "-t", &topic, "-m", "x"]);
        }
    }
    // One that both get shows that what was for them came.
    mosquitto::publish(&broker, &["-q", "1", "-t", "end", "-m", "x"]);
    let topics = members.each_ref().map(until_end);
    assert_eq!(topics[0].len() + topics[1].len(), 20);
    assert!(topics[0].iter().all(|topic| !topics[1].contains(topic)), "{topics:?}");
}

fn until_end(member: &Subscriber) -> Vec<String> {
    (1..)
        .map(|count| member.messages(count))
        .find(|topics| topics.last().is_some_and(|topic| topic == "end"))
        .map(|mut topics| {
            topics.pop();
            topics
        })
        .expect("it comes, or the deadline does")
}

fn jobs() -> Vec<String> {
    (0..JOBS).map(|number| format!("job {number:02}")).collect()
}

fn publish_jobs(broker: &Broker) {
    for job in jobs() {
        mosquitto::publish(broker, &["-q", "2", "-t", "job/a", "-m", &job]);
    }
}
