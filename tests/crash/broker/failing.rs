//! Commits that fail: nothing is told meanwhile, and nothing is lost or doubled after, whether the
//! disk kept what it reported as failed or not, and when the broker crashes before it recovers.

use std::sync::Arc;

use super::client::{Client, to};
use super::packets::{v4, v5};
use super::scene::{Scene, Verdict};
use crate::backend::{Failure, Fate};

const EIO: i32 = 5;

fn cast() -> Vec<Client> {
    vec![
        Client::new("s4", v4("s4").stored(), &[]),
        Client::new("s5", v5("s5").stored(), &[]),
        Client::new("o4", v4("o4").stored(), &[("a", 2)]),
        Client::new("o5", v5("o5").stored(), &[("a", 2)]),
        Client::new("away", v5("away").stored(), &[("a", 1)]),
    ]
}

/// Clients that have been told everything so far, and turns that are not on disk.
fn before_the_commit(seed: u64) -> Scene {
    let verdict: Verdict = Arc::new(|mut scene: Scene| {
        scene.come_back();
        scene.go_on(&["s4", "s5"], "a");
        assert_eq!(scene.judge().letters, []);
    });
    let mut scene = Scene::new(seed, cast(), verdict);
    for name in ["s4", "s5", "o4", "o5", "away"] {
        scene.connect(name);
    }
    scene.client("away", Client::cut);
    scene.drain();
    for name in ["s4", "s5"] {
        scene.publish(name, to("a", 2));
        scene.publish(name, to("a", 1));
    }
    scene
}

/// What clients were told that waits for the disk.
fn told(scene: &Scene) -> usize {
    let taken = |client: &Client| client.got.iter().filter(|got| got.qos as u8 == 2).count();
    scene.clients.iter().map(|client| client.acknowledgements + taken(client)).sum()
}

/// Fails `count` operations from each one of the commit on; gives how many tries failed.
fn fail_everywhere(count: u64, fate: Fate) -> usize {
    let mut failures = 0;
    for nth in 1.. {
        let mut scene = before_the_commit(nth);
        let before = told(&scene);
        scene.world.fail(nth, Failure { at: 0, count, error: EIO, fate });
        if scene.commit() {
            assert_eq!(scene.world.disk.failed(), 0, "an error was passed over");
            break;
        }
        failures += 1;
        assert_eq!(told(&scene), before, "told without the disk");
        let mut tries = 0;
        while !scene.commit() {
            failures += 1;
            assert_eq!(told(&scene), before, "told without the disk");
            tries += 1;
            assert!(tries < 20, "the disk came back, the store did not");
        }
        assert!(told(&scene) > before);
        scene.drain();
        let last: Vec<_> = scene.clients[2..4].iter().map(|it| it.got.len()).collect();
        assert_eq!(last, [4, 4]);
        assert!(scene.end() > 0);
    }
    failures
}

#[test]
fn a_commit_that_fails_is_told_to_nobody_and_repeated() {
    assert!(fail_everywhere(1, Fate::Lost) > 2);
}

#[test]
fn a_commit_whose_fate_is_unknown_loses_and_doubles_nothing() {
    assert!(fail_everywhere(1, Fate::Written) > 2);
}

#[test]
fn a_disk_that_fails_again_while_it_recovers_loses_and_doubles_nothing() {
    assert!(fail_everywhere(5, Fate::Lost) > 2);
}
