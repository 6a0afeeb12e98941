//! Back from the dead: redriven by an operator's task, or by itself.

use std::time::Duration;

use kedgemq::dead_reason::DeadReason;
use kedgemq::mqtt::{Packet, ReasonCode};
use kedgemq::turn::{Action, ConnectionId, LetterFilter};

use crate::packets::*;
use crate::rig::Rig;
use crate::text::NOTHING;

/// Letters `1` to `n` of the offline session `c`, which lost them by a Clean Start; it is there
/// again, and subscribes again.
fn with_letters(n: u16) -> Rig {
    let mut rig = Rig::new();
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    let sender = rig.connect(v5("p"));
    for n in 1..=n {
        rig.publish(sender, q1(n, "a", &n.to_string()));
    }
    let client = rig.connect(v5("c").stored().clean());
    rig.subscribe(client, "a", 1);
    rig.cut(client);
    rig.wait(1);
    assert_eq!(rig.dead().len(), usize::from(n));
    rig
}

fn start(rig: &mut Rig, action: Action, filter: LetterFilter, rate: u32) -> Option<u64> {
    rig.operate(|broker, now, turn| broker.handle_task(action, filter, rate, now, turn))
}

fn payloads(rig: &mut Rig) -> Vec<String> {
    let client = rig.connect(v5("c").stored());
    let got = rig.deliveries(client);
    got.iter().map(|got| String::from_utf8_lossy(&got.message.payload).into_owned()).collect()
}

#[test]
fn letters_go_back_to_their_owner_in_order_and_are_letters_no_more() {
    let mut rig = with_letters(3);
    assert_eq!(start(&mut rig, Action::RedriveToOwner, LetterFilter::default(), 0), Some(1));
    rig.wait(1);
    assert!(rig.dead().is_empty());
    assert!(rig.broker.task().is_none());
    assert_eq!(payloads(&mut rig), ["1", "2", "3"]);
}

#[test]
fn the_consumer_sees_that_it_is_not_the_first_attempt() {
    let mut rig = with_letters(1);
    start(&mut rig, Action::RedriveToOwner, LetterFilter::default(), 0);
    rig.wait(1);
    let client = rig.connect(v5("c").stored());
    let got = rig.deliveries(client);
    let properties = user_properties(&got[0].message.properties);
    let has = |name: &str, value: &str| properties.contains(&(name.into(), value.into()));
    assert!(has("dl-redrives", "1"), "{properties:?}");
    assert!(properties.iter().any(|(name, value)| name == "dl-id" && value.ends_with("-1")));
}

#[test]
fn a_letter_that_dies_again_keeps_its_id_and_its_first_reason() {
    let mut rig = with_letters(1);
    start(&mut rig, Action::RedriveToOwner, LetterFilter::default(), 0);
    rig.wait(1);
    let client = rig.connect(v5("c").stored());
    let id = rig.packet_id(client);
    rig.send(client, Packet::PubAck(refusal(id, ReasonCode::UNSPECIFIED_ERROR)));
    let letter = rig.store.dead.values().next().expect("it died again").clone();
    assert_eq!(letter.reason, DeadReason::Rejected);
    assert_eq!(letter.first_reason, DeadReason::SessionCleared);
    assert_eq!((letter.deaths, letter.redrives, letter.origin.0), (2, 1, 1));
    assert_ne!(letter.id.0, 1);
}

#[test]
fn a_task_takes_only_the_letters_that_are_meant() {
    let mut rig = with_letters(3);
    let limit = LetterFilter { limit: Some(1), ..LetterFilter::default() };
    start(&mut rig, Action::Purge, limit, 0);
    rig.wait(1);
    assert_eq!(rig.dead(), ["session_cleared c 2", "session_cleared c 3"]);
    let others = LetterFilter { reason: Some(DeadReason::Expired), ..LetterFilter::default() };
    start(&mut rig, Action::Purge, others, 0);
    rig.wait(1);
    assert_eq!(rig.dead().len(), 2);
    let topic = LetterFilter { topic: Some("a/#".into()), ..LetterFilter::default() };
    start(&mut rig, Action::Purge, topic, 0);
    rig.wait(1);
    assert!(rig.dead().is_empty());
}

#[test]
fn one_task_at_a_time_and_it_can_be_cancelled() {
    let mut rig = with_letters(100);
    let all = LetterFilter::default;
    assert_eq!(start(&mut rig, Action::RedriveToOwner, all(), 10), Some(1));
    assert_eq!(start(&mut rig, Action::Purge, all(), 0), None);
    rig.wait(2);
    let done = rig.broker.task().expect("it goes on").done;
    assert!((15..=25).contains(&done), "{done} in two seconds at ten a second");
    assert!(!rig.operate(|broker, _, turn| broker.handle_cancel(7, turn)));
    assert!(rig.operate(|broker, _, turn| broker.handle_cancel(1, turn)));
    rig.wait(10);
    assert_eq!(rig.dead().len() as u64, 100 - done);
    assert!(rig.broker.task().is_none());
}

/// A task is cancelled while letters for it are on their way.
fn cancel_with_letters_on_their_way(rig: &mut Rig, task: u64) {
    assert_ne!(rig.waiting_loads(), 0);
    assert!(rig.operate(|broker, _, turn| broker.handle_cancel(task, turn)));
    rig.wait(1);
}

#[test]
fn a_task_begins_with_the_first_letter_whatever_was_on_its_way_for_another() {
    let mut rig = with_letters(600);
    rig.delay_loads();
    start(&mut rig, Action::Republish, LetterFilter::default(), 0);
    rig.answer_loads();
    assert_eq!(rig.broker.task().map(|task| task.done), Some(256));
    cancel_with_letters_on_their_way(&mut rig, 1);
    start(&mut rig, Action::Purge, LetterFilter::default(), 0);
    rig.answer_loads();
    rig.load_at_once();
    rig.wait(1);
    assert_eq!(rig.broker.ended_task().map(|task| task.done), Some(600));
    assert!(rig.dead().is_empty());
}

#[test]
fn a_task_acts_once_where_another_asked_for_the_same_letters() {
    let mut rig = with_letters(300);
    let reader = rig.connect(v5("reader"));
    rig.subscribe(reader, "$dead/#", 0);
    rig.delay_loads();
    for task in 1..=3 {
        start(&mut rig, Action::Republish, LetterFilter::default(), 0);
        cancel_with_letters_on_their_way(&mut rig, task);
    }
    start(&mut rig, Action::Republish, LetterFilter::default(), 0);
    assert_eq!(rig.waiting_loads(), 4);
    rig.load_at_once();
    rig.wait(1);
    assert_eq!(rig.broker.ended_task().map(|task| (task.id, task.done)), Some((4, 300)));
    assert_eq!(rig.lines(reader).len(), 300);
}

#[test]
fn a_rate_counts_the_letters_that_are_meant() {
    let mut rig = with_letters(30);
    let all = LetterFilter::default;
    start(&mut rig, Action::Purge, all(), 2);
    rig.wait(5);
    let done = rig.broker.task().expect("it goes on").done;
    assert!((9..=12).contains(&done), "{done} in five seconds at two a second");
    assert!(rig.operate(|broker, _, turn| broker.handle_cancel(1, turn)));
    assert_eq!(rig.broker.ended_task().map(|task| (task.id, task.is_cancelled())), Some((1, true)));
    let nothing = LetterFilter { owner: Some("other".into()), ..all() };
    start(&mut rig, Action::Purge, nothing, 1);
    rig.wait(1);
    assert!(rig.broker.task().is_none(), "others are passed without a pause");
    assert_eq!(
        rig.broker.ended_task().map(|task| (task.done, task.is_cancelled())),
        Some((0, false))
    );
}

#[test]
fn a_task_goes_on_after_a_crash_and_does_nothing_twice() {
    let mut rig = with_letters(50);
    start(&mut rig, Action::RedriveToOwner, LetterFilter::default(), 10);
    rig.wait(2);
    rig.crash();
    rig.wait(10);
    assert!(rig.dead().is_empty() && rig.broker.task().is_none());
    let expected: Vec<String> = (1..=50).map(|n: u16| n.to_string()).collect();
    assert_eq!(payloads(&mut rig), expected);
}

#[test]
fn tasks_are_numbered_on_after_a_crash_and_the_last_that_ended_is_known() {
    let mut rig = with_letters(30);
    let limit = || LetterFilter { limit: Some(1), ..LetterFilter::default() };
    for id in 1..=3 {
        assert_eq!(start(&mut rig, Action::Purge, limit(), 0), Some(id));
        rig.wait(1);
        rig.crash();
        let ended = rig.broker.ended_task().expect("it ended");
        assert_eq!((ended.id, ended.done, ended.is_cancelled()), (id, 1, false));
        assert_eq!(rig.store.tasks.len(), 1);
    }
    start(&mut rig, Action::Purge, LetterFilter::default(), 1);
    assert!(rig.operate(|broker, _, turn| broker.handle_cancel(4, turn)));
    rig.crash();
    rig.wait(10);
    assert!(rig.broker.ended_task().is_some_and(|task| task.is_cancelled()));
    assert!(rig.broker.task().is_none(), "a cancelled task does not go on");
    assert_eq!(start(&mut rig, Action::Purge, limit(), 0), Some(5));
}

#[test]
fn what_has_no_owner_or_no_room_stays_dead() {
    let mut rig = Rig::with(|settings| settings.limits.queue_messages = 1);
    crate::dead_letters::backlog(&mut rig, "c");
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(9, "a", "y"));
    rig.wait(1);
    assert_eq!(rig.dead(), ["queue_full c x"]);
    start(&mut rig, Action::RedriveToOwner, LetterFilter::default(), 0);
    rig.wait(1);
    assert_eq!(rig.dead(), ["queue_full c x"], "y is in the queue");
    rig.connect(v5("c"));
    rig.wait(1);
}

#[test]
fn a_letter_goes_to_its_topic_for_all_who_are_there() {
    let mut rig = with_letters(1);
    let other = rig.connect(v5("other"));
    rig.subscribe(other, "#", 1);
    start(&mut rig, Action::RedriveToTopic, LetterFilter::default(), 0);
    rig.wait(1);
    assert_eq!(rig.lines(other), ["PUBLISH a 1 q1"]);
    assert_eq!(payloads(&mut rig), ["1"]);
    assert!(rig.dead().is_empty());
}

#[test]
fn republished_letters_stay() {
    let mut rig = with_letters(2);
    let reader = rig.connect(v5("reader"));
    rig.subscribe(reader, "$dead/#", 1);
    start(&mut rig, Action::Republish, LetterFilter::default(), 0);
    rig.wait(1);
    let expected =
        ["PUBLISH $dead/session_cleared/c/a 1 q1", "PUBLISH $dead/session_cleared/c/a 2 q1"];
    assert_eq!(rig.lines(reader), expected);
    assert_eq!(rig.dead().len(), 2);
}

fn with_retry(max: u32) -> Rig {
    Rig::with(|settings| {
        let retry = &mut settings.dead_letters.retry;
        retry.reasons = vec![DeadReason::Rejected];
        retry.max = max;
        retry.backoff_min = Duration::from_secs(10);
        retry.backoff_max = Duration::from_secs(15);
    })
}

/// Takes the only message that came: its Packet Identifier, and its `dl-id` with `dl-redrives`.
fn attempt(rig: &mut Rig, client: ConnectionId, attempts: &mut Vec<String>) -> u16 {
    let got = rig.deliveries(client);
    assert_eq!(got.len(), 1, "{got:?}");
    let values = user_properties(&got[0].message.properties).into_iter();
    attempts.push(values.map(|(_, value)| value).collect::<Vec<_>>().join(" "));
    got[0].packet_id.expect("it has QoS 1").get()
}

#[test]
fn a_rejected_message_comes_again_with_longer_pauses_then_stays_dead() {
    let mut rig = with_retry(2);
    let reader = rig.connect(v5("reader"));
    rig.subscribe(reader, "$dead/#", 0);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let mut attempts = Vec::new();
    for (early, late) in [(7, 3), (11, 4)] {
        let id = attempt(&mut rig, client, &mut attempts);
        rig.send(client, Packet::PubAck(refusal(id, ReasonCode::UNSPECIFIED_ERROR)));
        rig.wait(early);
        assert_eq!(rig.lines(client), NOTHING, "the pause is at least four fifths");
        assert_eq!(rig.lines(reader), NOTHING, "it is not left dead yet");
        rig.wait(late);
    }
    let id = attempt(&mut rig, client, &mut attempts);
    assert_eq!(attempts, ["", "rig-1 1", "rig-1 2"], "the consumer sees which attempt it is");
    rig.send(client, Packet::PubAck(refusal(id, ReasonCode::UNSPECIFIED_ERROR)));
    assert_eq!(rig.lines(reader), ["PUBLISH $dead/rejected/c/a x q0"]);
    rig.wait(100);
    assert_eq!(rig.lines(client), NOTHING);
    assert_eq!(rig.dead(), ["rejected c x"]);
}

#[test]
fn a_retry_survives_a_crash() {
    let mut rig = with_retry(1);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let id = rig.packet_id(client);
    rig.send(client, Packet::PubAck(refusal(id, ReasonCode::UNSPECIFIED_ERROR)));
    rig.crash();
    let client = rig.connect(v5("c").stored());
    rig.wait(11);
    assert_eq!(rig.lines(client), ["PUBLISH a x q1"]);
    assert!(rig.dead().is_empty());
}

#[test]
fn a_retry_that_found_no_owner_is_over_and_told_once_also_after_a_crash() {
    let mut rig = with_retry(1);
    let reader = rig.connect(v5("reader").stored());
    rig.subscribe(reader, "$dead/#", 1);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let id = rig.packet_id(client);
    rig.send(client, Packet::PubAck(refusal(id, ReasonCode::UNSPECIFIED_ERROR)));
    rig.operate(|broker, now, turn| broker.handle_delete("c", now, turn));
    rig.wait(11);
    let id = rig.packet_id(reader);
    rig.send(reader, Packet::PubAck(ack(id)));
    rig.crash();
    let reader = rig.connect(v5("reader").stored());
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    rig.wait(30);
    assert_eq!(rig.lines(client), NOTHING, "what was left dead is not redriven by itself");
    assert_eq!(rig.lines(reader), NOTHING, "nobody hears of a letter twice");
    assert_eq!(rig.dead(), ["rejected c x"]);
}

/// A task was cancelled that had asked for it, too.
#[test]
fn a_retry_that_found_no_owner_is_told_once_whoever_else_asked_for_it() {
    let mut rig = with_retry(1);
    let reader = rig.connect(v5("reader"));
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 1);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let id = rig.packet_id(client);
    rig.send(client, Packet::PubAck(refusal(id, ReasonCode::UNSPECIFIED_ERROR)));
    rig.operate(|broker, now, turn| broker.handle_delete("c", now, turn));
    rig.subscribe(reader, "$dead/#", 0);
    rig.delay_loads();
    start(&mut rig, Action::Purge, LetterFilter::default(), 0);
    cancel_with_letters_on_their_way(&mut rig, 1);
    rig.wait(11);
    assert_eq!(rig.waiting_loads(), 2);
    rig.load_at_once();
    assert_eq!(rig.lines(reader), ["PUBLISH $dead/rejected/c/a x q0"]);
}

#[test]
fn what_a_group_member_rejected_comes_back_as_a_new_message_to_its_topic() {
    // [MQTT-4.8.2-6]
    let mut rig = with_retry(1);
    let member = rig.connect(v5("m"));
    rig.subscribe(member, "$share/g/a", 1);
    let other = rig.connect(v5("o"));
    rig.subscribe(other, "a", 0);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q1(1, "a", "x"));
    let id = rig.packet_id(member);
    rig.send(member, Packet::PubAck(refusal(id, ReasonCode::UNSPECIFIED_ERROR)));
    rig.lines(other);
    rig.wait(11);
    assert_eq!(rig.lines(member), ["PUBLISH a x q1"]);
    assert_eq!(rig.lines(other), ["PUBLISH a x q0"]);
}

#[test]
fn nothing_of_a_redrive_leaves_before_the_letters_end_is_durable() {
    let mut rig = with_letters(1);
    let client = rig.connect(v5("c").stored());
    rig.hold_commits();
    rig.delay_loads();
    start(&mut rig, Action::RedriveToOwner, LetterFilter::default(), 0);
    rig.commit();
    rig.answer_loads();
    assert_eq!(rig.lines(client), NOTHING);
    assert_eq!(rig.held(client), ["PUBLISH a 1 q1"]);
    rig.crash();
    assert_eq!(rig.dead(), ["session_cleared c 1"], "the end was not durable");
}

#[test]
fn a_letter_for_a_topic_that_nobody_reads_stays() {
    let mut rig = with_letters(1);
    rig.connect(v5("c").clean());
    start(&mut rig, Action::RedriveToTopic, LetterFilter::default(), 0);
    rig.wait(1);
    assert_eq!(rig.dead(), ["session_cleared c 1"]);
}

#[test]
fn a_letter_does_not_go_to_an_owner_that_lost_the_right_to_read_it() {
    let mut rig = with_letters(1);
    let acl = kedgemq::auth::Acl::parse("topic read b\n").expect("it is well-formed");
    rig.broker.set_acl(Some(acl));
    let client = rig.connect(v5("c").stored());
    start(&mut rig, Action::RedriveToOwner, LetterFilter::default(), 0);
    rig.wait(1);
    assert_eq!(rig.lines(client), NOTHING);
    assert_eq!(rig.dead(), ["session_cleared c 1"]);
}

#[test]
fn a_qos_0_letter_waits_for_its_owner_to_be_there() {
    let mut rig = Rig::with(|settings| settings.dead_letters.include_qos0 = true);
    let client = rig.connect(v5("c").stored());
    rig.subscribe(client, "a", 0);
    rig.outbox_full(client, true);
    let sender = rig.connect(v5("p"));
    rig.publish(sender, q0("a", "x"));
    assert_eq!(rig.dead(), ["queue_full c x"]);
    rig.cut(client);
    start(&mut rig, Action::RedriveToOwner, LetterFilter::default(), 0);
    rig.wait(1);
    assert_eq!(rig.dead(), ["queue_full c x"], "at QoS 0 nothing waits for who is away");
    let client = rig.connect(v5("c").stored());
    start(&mut rig, Action::RedriveToOwner, LetterFilter::default(), 0);
    rig.wait(1);
    assert_eq!(rig.lines(client), ["PUBLISH a x q0"]);
    assert!(rig.dead().is_empty());
}
