//! Clients and their broker. At each sync of each commit the scene splits: in a world of its own
//! the broker crashes there, the clients come back with the memory that they have, and the verdict
//! is spoken. Some crash once more while that goes on.

use std::sync::Arc;

use kedgemq::broker::Broker;
use kedgemq::mqtt::packet::Will;
use kedgemq::time::Timestamp;
use kedgemq::turn::Turn;

use super::client::{Client, Post};
use super::packets::{qos, will};
use super::world::{Rules, World};
use crate::backend::Disk;

/// What must hold after a crash; the clients have lost their connections.
pub(super) type Verdict = Arc<dyn Fn(Scene)>;

/// Clients and their broker.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) clients: Vec<Client>,
    /// How often it split.
    pub(super) crashes: usize,
    verdict: Verdict,
    /// At which syncs it splits.
    splits: Splits,
}

#[derive(Clone, Copy)]
enum Splits {
    Always,
    /// Once, after so many syncs.
    After(usize),
    Never,
}

/// Every how many crashes a second one follows.
const SECOND_CRASH: usize = 3;
/// The second comes after less syncs than this.
const SYNCS_TO_SECOND: usize = 8;

impl Scene {
    /// On an empty disk, on which `seed` decides what survives a crash.
    pub(super) fn new(seed: u64, clients: Vec<Client>, verdict: Verdict) -> Self {
        Self::under(Rules::default(), seed, clients, verdict)
    }

    /// The same under other rules.
    pub(super) fn under(rules: Rules, seed: u64, clients: Vec<Client>, verdict: Verdict) -> Self {
        let disk = Disk::default();
        disk.set_seed(seed);
        let world = World::start(disk, Timestamp(1_000_000), rules);
        world.keep_crashes();
        Self { world, clients, crashes: 0, verdict, splits: Splits::Always }
    }

    /// Lets a client do something.
    pub(super) fn client(&mut self, name: &str, act: impl FnOnce(&mut Client, &mut World)) {
        let client = self.clients.iter_mut().find(|client| client.name == name);
        act(client.expect("a client of this scene"), &mut self.world);
        self.read();
    }

    /// Connects and subscribes, and waits until that is told.
    pub(super) fn connect(&mut self, name: &str) {
        self.client(name, Client::connect);
        self.settle();
    }

    /// Connects with a will of its own for this connection; it is not settled.
    pub(super) fn bequeath(&mut self, name: &str, post: Post) {
        let audience = self.audience(post.topic);
        self.client(name, |client, world| {
            // A will is borrowed by its CONNECT for as long as that may be sent again.
            let payload = client.bequeath(post, audience).leak();
            client.connect.will = Some(Will { qos: qos(post.qos), ..will(post.topic, payload) });
            client.connect(world);
        });
    }

    /// Connects without a will, and waits until that is told.
    pub(super) fn connect_without_will(&mut self, name: &str) {
        self.client(name, |client, world| {
            client.connect.will = None;
            client.connect(world);
        });
        self.settle();
    }

    /// Publishes; whose subscription is confirmed must get it.
    pub(super) fn publish(&mut self, name: &str, post: Post) {
        let audience = self.audience(post.topic);
        self.client(name, |client, world| client.publish(world, post, audience));
    }

    /// Owners whose subscription with a QoS above 0 is confirmed.
    pub(super) fn audience(&self, topic: &str) -> Vec<String> {
        let wants = |client: &&Client| {
            let mut filters = client.filters.iter();
            client.is_subscribed && filters.any(|(filter, qos)| *qos > 0 && matches(filter, topic))
        };
        let mut owners: Vec<_> = self.clients.iter().filter(wants).map(Client::owner).collect();
        owners.sort();
        owners.dedup();
        owners
    }

    /// Commits, and crashes at each sync of that. False when the disk fails.
    pub(super) fn commit(&mut self) -> bool {
        let before = self.clients.clone();
        let done = self.world.commit();
        for disk in self.world.crashes() {
            self.split(disk, before.clone());
        }
        self.read();
        done
    }

    /// Commits until nothing waits but what is lazy.
    pub(super) fn settle(&mut self) {
        self.commit_while(World::wants_commit);
    }

    /// Commits until everything is told and on disk.
    pub(super) fn drain(&mut self) {
        self.commit_while(|world| !world.is_quiet());
    }

    /// Crashes now, and speaks the verdict; gives how often it crashed in all.
    pub(super) fn end(self) -> usize {
        let Self { world, clients, crashes, verdict, .. } = self;
        world.disk.forget_hook();
        let (disk, now, rules) = (world.disk.clone(), world.now, world.rules.clone());
        drop(world);
        let world = World::start(disk, now, rules);
        verdict.clone()(Self::after_crash(world, clients, verdict, Splits::Never));
        crashes
    }

    fn split(&mut self, disk: Disk, clients: Vec<Client>) {
        let next = match &mut self.splits {
            Splits::Never => return,
            Splits::After(0) => {
                self.splits = Splits::Never;
                Splits::Never
            }
            Splits::After(syncs) => {
                *syncs -= 1;
                return;
            }
            Splits::Always if self.crashes.is_multiple_of(SECOND_CRASH) => {
                Splits::After(self.crashes / SECOND_CRASH % SYNCS_TO_SECOND)
            }
            Splits::Always => Splits::Never,
        };
        self.crashes += 1;
        let verdict = self.verdict.clone();
        let world = World::start(disk, self.world.now, self.world.rules.clone());
        verdict.clone()(Self::after_crash(world, clients, verdict, next));
    }

    fn after_crash(
        world: World,
        mut clients: Vec<Client>,
        verdict: Verdict,
        splits: Splits,
    ) -> Self {
        for client in &mut clients {
            client.lose_connection();
            client.is_silent = false;
            client.refuses = false;
        }
        if matches!(splits, Splits::After(_)) {
            world.keep_crashes();
        }
        Self { world, clients, crashes: 0, verdict, splits }
    }

    /// An operator does something.
    pub(super) fn operate<R>(&mut self, act: impl FnOnce(&mut Broker, Timestamp, &mut Turn) -> R) {
        self.world.operate(act);
        self.read();
    }

    fn commit_while(&mut self, wanted: impl Fn(&World) -> bool) {
        let mut commits = 0;
        while wanted(&self.world) {
            self.commit();
            commits += 1;
            assert!(commits < 1000, "it never comes to rest");
        }
    }

    fn read(&mut self) {
        let mut came = true;
        while came {
            came = false;
            for client in &mut self.clients {
                came |= client.read(&mut self.world);
            }
        }
    }
}

/// For filters that are a topic or end with `/#`.
fn matches(filter: &str, topic: &str) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').expect("a share name").1,
        None => filter,
    };
    match filter.strip_suffix('#') {
        Some(start) => topic.starts_with(start),
        None => topic == filter,
    }
}
