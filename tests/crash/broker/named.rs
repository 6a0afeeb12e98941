//! The crashes that were found by thinking, each by its name, at every sync of its scenario.

use std::sync::Arc;

use kedgemq::turn::DeadReason;

use super::client::{Client, to};
use super::packets::{ConnectOptions, v4, v5};
use super::scene::{Scene, Verdict};

const SEEDS: u64 = 3;

/// A publisher and an owner of a queue, each of one version.
fn cast(make: fn(&str) -> ConnectOptions) -> Vec<Client> {
    vec![
        Client::new("owner", make("owner").stored(), &[("a", 2)]),
        Client::new("sender", make("sender").stored(), &[]),
    ]
}

/// Plays `scenario` for both versions and some seeds of what survives.
fn everywhere(scenario: impl Fn(&mut Scene), verdict: impl Fn(Scene) + 'static) {
    let verdict: Verdict = Arc::new(verdict);
    for make in [v4 as fn(&str) -> ConnectOptions, v5] {
        for seed in 0..SEEDS {
            let mut scene = Scene::new(seed, cast(make), verdict.clone());
            scenario(&mut scene);
            assert!(scene.end() > 3, "it crashed at each sync");
        }
    }
}

/// All come back, the sender goes on, and nothing is lost, doubled or dead.
fn all_arrives(mut scene: Scene) {
    scene.come_back();
    scene.go_on(&["sender"], "a");
    let outcome = scene.judge();
    assert_eq!(outcome.letters, []);
}

#[test]
fn a_resent_qos_2_publish_whose_first_is_not_committed() {
    let scenario = |scene: &mut Scene| {
        scene.connect("owner");
        scene.client("owner", Client::cut);
        scene.connect("sender");
        scene.publish("sender", to("a", 2));
        scene.client("sender", Client::cut);
        scene.client("sender", Client::connect_eagerly);
        let sender = &scene.clients[1];
        assert_eq!(sender.acknowledgements, 0, "neither is on disk");
        scene.settle();
        assert_eq!(scene.clients[1].acknowledgements, 2, "PUBREC and PUBCOMP");
        scene.connect("owner");
        scene.drain();
    };
    everywhere(scenario, all_arrives);
}

#[test]
fn a_qos_2_publish_repeated_on_its_connection_before_it_is_committed() {
    let scenario = |scene: &mut Scene| {
        scene.connect("owner");
        scene.connect("sender");
        scene.publish("sender", to("a", 2));
        scene.client("sender", Client::repeat);
        assert_eq!(scene.clients[1].acknowledgements, 0, "neither is on disk");
        scene.drain();
    };
    everywhere(scenario, all_arrives);
}

#[test]
fn a_pubrel_repeated_before_the_release_is_on_disk() {
    let scenario = |scene: &mut Scene| {
        scene.connect("owner");
        scene.connect("sender");
        scene.publish("sender", to("a", 2));
        while scene.clients[1].acknowledgements == 0 {
            scene.commit();
        }
        // It has sent PUBREL, which is not on disk.
        scene.client("sender", Client::cut);
        scene.client("sender", Client::connect_eagerly);
        assert_eq!(scene.clients[1].acknowledgements, 1, "PUBCOMP would free the identifier");
        scene.settle();
        // The identifier's next message.
        scene.publish("sender", to("a", 2));
        scene.drain();
    };
    everywhere(scenario, all_arrives);
}

#[test]
fn a_will_that_is_published_then_a_crash() {
    let scenario = |scene: &mut Scene| {
        scene.clients.push(Client::new("watcher", v5("watcher"), &[("a", 0)]));
        scene.connect("owner");
        scene.connect("watcher");
        scene.bequeath("sender", to("a", 2));
        scene.settle();
        scene.client("sender", Client::cut);
        assert_eq!(scene.clients[2].got.len(), 0, "a crash now would send it twice");
        scene.settle();
        assert_eq!(scene.clients[2].got.len(), 1);
        scene.drain();
    };
    everywhere(scenario, |mut scene| {
        scene.connect("owner");
        if scene.clients.len() > 2 {
            scene.connect("watcher");
        }
        scene.world.wait(20);
        scene.drain();
        scene.connect_without_will("sender");
        scene.go_on(&["sender"], "a");
        assert_eq!(scene.judge().letters, []);
    });
}

#[test]
fn a_take_over_of_the_subscriber_while_a_qos_2_message_is_uncommitted() {
    let scenario = |scene: &mut Scene| {
        scene.connect("owner");
        scene.connect("sender");
        scene.publish("sender", to("a", 2));
        scene.client("owner", Client::connect);
        assert_eq!(scene.clients[0].got.len(), 0);
        scene.commit();
        scene.client("owner", Client::connect);
        scene.drain();
    };
    everywhere(scenario, all_arrives);
}

#[test]
fn a_take_over_of_the_publisher_while_its_qos_2_message_is_uncommitted() {
    let scenario = |scene: &mut Scene| {
        scene.connect("owner");
        scene.connect("sender");
        scene.publish("sender", to("a", 2));
        scene.client("sender", Client::connect_eagerly);
        scene.publish("sender", to("a", 2));
        scene.client("sender", Client::connect);
        scene.drain();
    };
    everywhere(scenario, all_arrives);
}

#[test]
fn a_clean_start_of_the_publisher_then_a_crash() {
    let scenario = |scene: &mut Scene| {
        scene.connect("owner");
        scene.client("sender", |sender, world| {
            sender.is_silent = true;
            sender.connect(world);
        });
        scene.settle();
        // Its identifier stays received.
        scene.publish("sender", to("a", 2));
        scene.settle();
        scene.client("sender", Client::begin_anew);
        scene.client("sender", |sender, _| sender.is_silent = false);
        scene.settle();
        // The same identifier in the new session: another message.
        scene.publish("sender", to("a", 2));
        scene.drain();
    };
    everywhere(scenario, all_arrives);
}

#[test]
fn a_clean_start_that_ends_a_backlog_then_a_crash() {
    let scenario = |scene: &mut Scene| {
        scene.connect("owner");
        scene.client("owner", Client::cut);
        scene.connect("sender");
        for qos in [1, 2, 2, 1] {
            scene.publish("sender", to("a", qos));
        }
        scene.drain();
        scene.client("owner", Client::begin_anew);
        scene.settle();
        scene.client("owner", Client::cut);
        scene.drain();
    };
    everywhere(scenario, |mut scene| {
        let published = scene.clients[1].published.iter();
        let backlog = published.filter(|it| !it.audience.is_empty()).count();
        let began = scene.clients[0].began_anew;
        scene.world.wait(1);
        scene.come_back();
        scene.go_on(&["sender"], "a");
        scene.world.wait(1);
        scene.drain();
        let outcome = scene.judge();
        let is_cleared = |(_, _, reason): &(_, _, _)| *reason == DeadReason::SessionCleared;
        assert!(outcome.letters.iter().all(is_cleared));
        if began {
            assert_eq!(outcome.letters.len(), backlog, "each of the backlog, once");
            assert_eq!(outcome.clients["owner"], [""; 0], "its subscription did not come back");
        }
    });
}
