//! One workload with all of it: QoS 1 and 2 of both versions, subscribers that stay and that come
//! and go, expiry and overflow into dead letters, retained messages, a will, a share group; it
//! crashes at every sync.

use std::sync::{Arc, Mutex};

use fastrand::Rng;
use kedgemq::turn::DeadReason;

use super::client::{Client, Post, to};
use super::packets::{v4, v5};
use super::scene::{Scene, Verdict};
use super::world::QUEUE_MESSAGES;

const STEPS: usize = 90;
const PUBLISHERS: [&str; 2] = ["p4", "p5"];
/// They come and go.
const GUESTS: [&str; 5] = ["off4", "off5", "m4", "m5", "watcher"];
const WILL: Post = Post { topic: "t/will", qos: 2, expiry: None, retain: false };

fn cast() -> Vec<Client> {
    vec![
        Client::new("p4", v4("p4").stored(), &[]),
        Client::new("p5", v5("p5").stored(), &[]),
        Client::new("on4", v4("on4").stored(), &[("t/#", 2)]),
        Client::new("on5", v5("on5").stored().window(3), &[("t/#", 1)]),
        Client::new("off4", v4("off4").stored(), &[("t/#", 1), ("e/#", 1)]),
        Client::new("off5", v5("off5").stored().window(2), &[("t/#", 2), ("e/#", 2)]),
        Client::new("m4", v4("m4").stored(), &[("$share/g/t/#", 2)]),
        Client::new("m5", v5("m5").stored().window(2), &[("$share/g/t/#", 2)]),
        Client::new("watcher", v5("watcher"), &[("t/#", 0)]),
        Client::new("w", v5("w").stored(), &[]),
    ]
}

fn step(scene: &mut Scene, random: &mut Rng) {
    let publisher = random.choice(PUBLISHERS).unwrap();
    let guest = random.choice(GUESTS).unwrap();
    let qos = random.u8(1..=2);
    match random.u8(0..100) {
        0..45 => scene.publish(publisher, to(random.choice(["t/a", "t/b"]).unwrap(), qos)),
        45..52 => scene.publish(publisher, Post { expiry: Some(2), ..to("e/x", qos) }),
        52..58 => scene.publish("p5", Post { retain: true, ..to("r/state", 1) }),
        58..66 => scene.client(guest, Client::cut),
        66..72 => scene.client(guest, Client::connect),
        72..76 => scene.client(publisher, Client::connect_eagerly),
        76..80 => scene.client("on5", Client::connect),
        80..85 => scene.bequeath("w", WILL),
        85..88 => scene.client("w", Client::cut),
        88..92 => scene.world.wait(3),
        _ => return scene.settle(),
    }
    if random.u8(0..3) == 0 {
        scene.commit();
    }
}

/// A guest that is away: what it misses expires, and overflows its queue.
fn let_die(scene: &mut Scene, guest: &str) {
    scene.client(guest, Client::cut);
    scene.publish("p4", Post { expiry: Some(2), ..to("e/x", 2) });
    scene.publish("p5", Post { expiry: Some(2), ..to("e/x", 1) });
    scene.settle();
    scene.world.wait(3);
    scene.settle();
    for qos in [1, 2].into_iter().cycle().take(QUEUE_MESSAGES + 2) {
        scene.publish("p5", to("t/b", qos));
    }
    scene.settle();
}

/// The testator stays away for longer than the broker gives it after a restart.
fn verdict(mut scene: Scene) -> Vec<DeadReason> {
    let names: Vec<_> = scene.clients.iter().map(|client| client.name).collect();
    for name in names.into_iter().filter(|name| *name != "w") {
        scene.connect(name);
    }
    scene.drain();
    scene.world.wait(20);
    scene.drain();
    scene.connect_without_will("w");
    scene.go_on(&PUBLISHERS, "t/a");
    check_retained(&mut scene);
    scene.drain();
    let outcome = scene.judge();
    let reasons = outcome.letters.into_iter().map(|(_, _, reason)| reason);
    reasons
        .inspect(|reason| {
            assert!(matches!(reason, DeadReason::Expired | DeadReason::QueueFull), "{reason:?}");
        })
        .collect()
}

/// What a newcomer reads is the last that was set.
fn check_retained(scene: &mut Scene) {
    let mut published = scene.clients[1].published.iter().filter(|it| it.post.retain);
    let expected = published.next_back().map(|it| it.payload.clone());
    // Not yet there, or left from before a second crash.
    scene.clients.retain(|client| client.name != "reader");
    scene.clients.push(Client::new("reader", v5("reader"), &[("r/#", 1)]));
    scene.connect("reader");
    let reader = scene.clients.last().unwrap();
    let got: Vec<_> = reader.got.iter().map(|got| got.payload.clone()).collect();
    assert_eq!(got, Vec::from_iter(expected), "retained");
    scene.client("reader", Client::cut);
}

fn crash_everywhere(seed: u64) {
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let found = reasons.clone();
    let judge: Verdict = Arc::new(move |scene| {
        *found.lock().unwrap() = verdict(scene);
    });
    let mut scene = Scene::new(seed, cast(), judge);
    let mut random = Rng::with_seed(seed);
    for name in ["p4", "p5", "on4", "on5", "off4", "off5", "m4", "m5", "watcher"] {
        scene.client(name, Client::connect);
    }
    scene.settle();
    for guest in ["off4", "off5"] {
        for _ in 0..STEPS / 2 {
            step(&mut scene, &mut random);
        }
        let_die(&mut scene, guest);
    }
    let crashes = scene.end();
    assert!(crashes > STEPS / 3, "{crashes}");
    // Those of the last crash, with all that went before on its disk.
    let reasons = reasons.lock().unwrap();
    for reason in [DeadReason::Expired, DeadReason::QueueFull] {
        assert!(reasons.contains(&reason), "no letter is {reason:?}: {reasons:?}");
    }
}

#[test]
fn nothing_is_lost_or_doubled_in_a_mixed_workload() {
    crash_everywhere(1);
}

#[test]
fn nothing_is_lost_or_doubled_in_another_mixed_workload() {
    crash_everywhere(2);
}
