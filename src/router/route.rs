//! The way of the last message. A client publishes to one topic many times, and its packets come
//! in batches: the next message goes where the last went, as long as nobody subscribed or
//! unsubscribed.

use super::trie::{Subscriptions, Target};
use crate::turn::OwnerId;

/// Who gets what one publisher sends to one topic.
#[derive(Debug, Default)]
pub struct Route {
    /// Topic Name; empty before the first.
    topic: String,
    publisher: Option<OwnerId>,
    /// See [`Subscriptions::changes`].
    changes: u64,
    targets: Vec<Target>,
}

impl Route {
    /// The targets, in the order of [`Subscriptions::matches`].
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Makes it the route to the subscribers of `topic` as they are now.
    pub fn find(&mut self, subscriptions: &Subscriptions, topic: &str, publisher: Option<OwnerId>) {
        let is_same = self.publisher == publisher
            && self.changes == subscriptions.changes()
            && self.topic == topic;
        if is_same {
            return;
        }
        subscriptions.matches(topic, publisher, &mut self.targets);
        self.topic.clear();
        self.topic.push_str(topic);
        self.publisher = publisher;
        self.changes = subscriptions.changes();
    }

    /// Leaves out the owners that are not to be kept, and never will be again: it may be the route
    /// of the next message as well.
    pub fn retain(&mut self, mut keep: impl FnMut(OwnerId) -> bool) {
        self.targets.retain(|target| keep(target.owner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::QoS;
    use crate::mqtt::packet::{RetainHandling, SubscriptionOptions};
    use crate::router::Entry;

    fn entry(owner: u64, no_local: bool) -> Entry {
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        Entry { owner: OwnerId(owner), options, subscription_id: None }
    }

    #[test]
    fn a_route_is_as_new_as_the_subscriptions() {
        let mut subscriptions = Subscriptions::new(1);
        let mut route = Route::default();
        let (a, b) = ("a", "b");
        let none: [u64; 0] = [];
        let mut owners = |subscriptions: &Subscriptions, topic, publisher| -> Vec<u64> {
            route.find(subscriptions, topic, Some(OwnerId(publisher)));
            route.targets().iter().map(|target| target.owner.0).collect()
        };
        assert_eq!(owners(&subscriptions, a, 1), none);
        subscriptions.insert("a", entry(1, true));
        subscriptions.insert("a", entry(2, true));
        assert_eq!(owners(&subscriptions, a, 1), [2]);
        assert_eq!(owners(&subscriptions, a, 1), [2]);
        assert_eq!(owners(&subscriptions, a, 2), [1]);
        assert_eq!(owners(&subscriptions, b, 2), none);
        assert_eq!(owners(&subscriptions, a, 2), [1]);
        subscriptions.insert("a", entry(2, false));
        assert_eq!(owners(&subscriptions, a, 2), [1, 2]);
        subscriptions.remove("a", OwnerId(1));
        assert_eq!(owners(&subscriptions, a, 2), [2]);
    }
}
