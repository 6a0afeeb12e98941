//! A message on its way from a queue to the dead letters, for each reason, and back: the broker
//! crashes at every sync of it, and afterwards the message is in one of the two places.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kedgemq::config::Settings;
use kedgemq::turn::{Action, DeadReason, LetterFilter};

use super::client::{Client, Post, to};
use super::packets::{ConnectOptions, v4, v5};
use super::scene::{Scene, Verdict};
use super::world::{QUEUE_MESSAGES, Rules};

const SEEDS: u64 = 2;
const SENDER: &str = "sender_of_messages_that_are_larger_than_some_take";
const MAXIMUM_PACKET_SIZE: u32 = 45;
const EXPIRY: u32 = 10;

type Make = fn(&str) -> ConnectOptions;
const BOTH: &[Make] = &[v4, v5];
const V5: &[Make] = &[v5];

/// A way to die.
struct Story {
    reason: DeadReason,
    versions: &'static [Make],
    settings: fn(&mut Settings),
    /// How many letters there are in the end, if nobody crashes before.
    letters: usize,
    /// Seconds until the clients come back after a crash.
    pause: u64,
    play: fn(&mut Scene),
}

fn plain(_: &mut Settings) {}

/// The owner is away, and its queue has a message of each QoS, of which its publisher knows.
fn with_backlog(scene: &mut Scene) {
    scene.connect("owner");
    scene.client("owner", Client::cut);
    scene.connect(SENDER);
    for qos in [1, 2] {
        scene.publish(SENDER, to("a", qos));
    }
    scene.drain();
}

/// Both are there, and the publisher sends a message of each QoS.
fn with_owner(scene: &mut Scene, change: fn(&mut Client)) {
    scene.client("owner", |owner, world| {
        change(owner);
        owner.connect(world);
    });
    scene.settle();
    scene.connect(SENDER);
    for qos in [1, 2] {
        scene.publish(SENDER, to("a", qos));
    }
    scene.drain();
}

/// All come back and go on; what died did so for the reason of the story.
fn verdict(mut scene: Scene, reason: DeadReason, pause: u64) -> usize {
    let is_withdrawn = scene.world.rules.acl.is_some();
    for client in &mut scene.clients {
        client.may_expire = reason == DeadReason::SessionExpired;
    }
    for _ in 0..pause {
        scene.world.wait(1);
        scene.drain();
    }
    scene.come_back();
    // Who may not read what is published gets nothing, dead or alive.
    if !is_withdrawn {
        scene.go_on(&[SENDER], "a");
    }
    scene.world.wait(1);
    scene.drain();
    let outcome = scene.judge();
    for letter in &outcome.letters {
        assert_eq!(letter.2, reason, "{letter:?}");
    }
    let mut deaths = BTreeMap::<_, usize>::new();
    for (owner, payload, _) in &outcome.letters {
        *deaths.entry((owner, payload)).or_default() += 1;
    }
    deaths.len()
}

fn crash_everywhere(story: &Story) {
    for make in story.versions {
        for seed in 0..SEEDS {
            let found = Arc::new(Mutex::new(Vec::new()));
            let (verdicts, reason, pause) = (found.clone(), story.reason, story.pause);
            let judge: Verdict = Arc::new(move |scene| {
                let letters = verdict(scene, reason, pause);
                verdicts.lock().unwrap().push(letters);
            });
            let mut rules = Rules::default();
            (story.settings)(&mut rules.settings);
            let clients = vec![
                Client::new("owner", make("owner").stored(), &[("a", 2)]),
                Client::new(SENDER, make(SENDER).stored(), &[]),
            ];
            let mut scene = Scene::under(rules, seed, clients, judge);
            (story.play)(&mut scene);
            let crashes = scene.end();
            let found = found.lock().unwrap();
            assert!(crashes > 5, "it crashed at each sync");
            let (last, before) = found.split_last().unwrap();
            assert_eq!(*last, story.letters, "of {reason:?} in the end");
            assert!(
                before.iter().any(|letters| letters != last),
                "none before the move: {found:?}"
            );
        }
    }
}

#[test]
fn expired() {
    crash_everywhere(&Story {
        reason: DeadReason::Expired,
        versions: BOTH,
        settings: plain,
        letters: 2,
        pause: 0,
        play: |scene| {
            scene.connect("owner");
            scene.client("owner", Client::cut);
            scene.connect(SENDER);
            for qos in [1, 2] {
                scene.publish(SENDER, Post { expiry: Some(2), ..to("a", qos) });
            }
            scene.drain();
            scene.world.wait(3);
            scene.drain();
        },
    });
}

#[test]
fn queue_full() {
    crash_everywhere(&Story {
        reason: DeadReason::QueueFull,
        versions: BOTH,
        settings: plain,
        letters: 3,
        pause: 0,
        play: |scene| {
            with_backlog(scene);
            for qos in [1, 2].into_iter().cycle().take(QUEUE_MESSAGES + 1) {
                scene.publish(SENDER, to("a", qos));
                scene.settle();
            }
            scene.drain();
        },
    });
}

#[test]
fn session_expired() {
    crash_everywhere(&Story {
        reason: DeadReason::SessionExpired,
        versions: BOTH,
        settings: |settings| settings.limits.session_expiry = EXPIRY,
        letters: 2,
        pause: 0,
        play: |scene| {
            with_backlog(scene);
            scene.world.wait(u64::from(EXPIRY) + 1);
            scene.drain();
        },
    });
}

#[test]
fn rejected() {
    crash_everywhere(&Story {
        reason: DeadReason::Rejected,
        versions: V5,
        settings: plain,
        letters: 2,
        pause: 0,
        play: |scene| with_owner(scene, |owner| owner.refuses = true),
    });
}

#[test]
fn too_large() {
    crash_everywhere(&Story {
        reason: DeadReason::TooLarge,
        versions: V5,
        settings: plain,
        // And what the sender goes on with.
        letters: 5,
        pause: 0,
        play: |scene| {
            with_backlog(scene);
            let owner = &mut scene.clients[0];
            owner.connect.maximum_packet_size = Some(MAXIMUM_PACKET_SIZE);
            scene.connect("owner");
            scene.drain();
        },
    });
}

/// In 3.1.1 it is off unless switched on.
#[test]
fn delivery_limit() {
    crash_everywhere(&Story {
        reason: DeadReason::DeliveryLimit,
        versions: BOTH,
        settings: |settings| {
            settings.limits.max_deliveries = 2;
            settings.limits.max_deliveries_v311 = 2;
        },
        letters: 2,
        pause: 0,
        play: |scene| {
            with_owner(scene, |owner| owner.is_silent = true);
            for _ in 0..4 {
                scene.client("owner", Client::crash);
                scene.drain();
                scene.connect("owner");
            }
        },
    });
}

#[test]
fn unauthorized() {
    crash_everywhere(&Story {
        reason: DeadReason::Unauthorized,
        versions: BOTH,
        settings: plain,
        letters: 2,
        pause: 0,
        play: |scene| {
            with_backlog(scene);
            scene.world.set_acl("topic write a\ntopic read b\n");
            scene.connect("owner");
            scene.drain();
        },
    });
}

#[test]
fn purged() {
    crash_everywhere(&Story {
        reason: DeadReason::Purged,
        versions: BOTH,
        settings: plain,
        letters: 2,
        pause: 0,
        play: |scene| {
            with_backlog(scene);
            scene.operate(|broker, now, turn| broker.handle_purge("owner", now, turn));
            scene.drain();
        },
    });
}

#[test]
fn storage_full() {
    crash_everywhere(&Story {
        reason: DeadReason::StorageFull,
        versions: BOTH,
        // Of two messages.
        settings: |settings| settings.limits.disk_bytes = 2 * (SENDER.len() as u64 + 3),
        letters: 2,
        pause: 0,
        play: |scene| {
            with_backlog(scene);
            for qos in [1, 2] {
                scene.publish(SENDER, to("a", qos));
                scene.settle();
            }
            scene.drain();
        },
    });
}

#[test]
fn no_subscribers() {
    crash_everywhere(&Story {
        reason: DeadReason::NoSubscribers,
        versions: BOTH,
        settings: |settings| settings.dead_letters.no_subscribers = vec!["nobody/#".to_owned()],
        letters: 2,
        pause: 0,
        play: |scene| {
            scene.connect("owner");
            scene.connect(SENDER);
            for qos in [1, 2] {
                let post = to("nobody/reads", qos);
                scene.client(SENDER, |it, world| it.publish(world, post, vec!["-".to_owned()]));
                scene.settle();
            }
            scene.drain();
        },
    });
}

/// The way back: letters become copies in their owner's queue again.
#[test]
fn redriven() {
    crash_everywhere(&Story {
        reason: DeadReason::Purged,
        versions: BOTH,
        settings: plain,
        letters: 0,
        pause: 5, // What is redriven is not overtaken by what the sender goes on with.
        play: |scene| {
            with_backlog(scene);
            scene.operate(|broker, now, turn| broker.handle_purge("owner", now, turn));
            scene.drain();
            scene.publish(SENDER, to("other", 2)); // Crashes between the ways.
            scene.drain();
            let (action, all) = (Action::RedriveToOwner, LetterFilter::default());
            scene.operate(|broker, now, turn| broker.handle_task(action, all, 1, now, turn));
            for _ in 0..3 {
                scene.drain();
                scene.world.wait(1);
            }
        },
    });
}
