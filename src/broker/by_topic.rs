//! Share groups of which each topic has its member (`hash_topic`), so that the messages of a topic
//! stay in their order while the same members are connected.
//!
//! A member that can take nothing keeps its topics' copies in the queue, and copies for others pass
//! them; but only what is in memory can be looked at. When others have waited behind that for too
//! long, the topics of who takes nothing go to them, until it takes again: order for the rest is
//! worth a member that stands still, not a group that does.
//!
//! Whose a topic is, the hashes of all members with it decide, and nothing is kept of topics: so a
//! message costs a look at each member, and such groups are for tens of them, not for thousands.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Broker;
use super::deliver::may_receive;
use super::group::{Group, look};
use super::timer::Timer;
use crate::config::Strategy;
use crate::router::{Ability, Look, Member};
use crate::time::Timestamp;
use crate::turn::{OwnerId, SessionId, Turn};

/// Copies of a queue that are looked at.
const LOOKAHEAD: usize = 4096;

/// What such a group remembers.
#[derive(Debug, Default)]
pub(super) struct ByTopic {
    /// Stands for the members, who of them is connected, and the rights: when it changes, topics
    /// move.
    lineup: u64,
    /// Whom the copies wait for that were passed.
    awaited: BTreeSet<SessionId>,
    /// Whom others waited for too long.
    stalled: BTreeSet<SessionId>,
    /// Since when others wait.
    blocked: Option<Timestamp>,
}

/// Who reads a copy.
enum Reader {
    Member(Member),
    /// The right of all members was withdrawn.
    Nobody,
}

impl Group {
    /// The member of a topic, of those that fit and do not hold up the others.
    pub(super) fn member_of(
        &self,
        topic: &str,
        mut fits: impl FnMut(SessionId) -> bool,
    ) -> Option<Member> {
        let is_stalled = |member| self.by_topic.stalled.contains(&member);
        self.members.pick_by_topic(topic, |member| !is_stalled(member) && fits(member))
    }
}

impl Broker {
    pub(super) fn dispatch_by_topic(
        &mut self,
        id: OwnerId,
        patience: Duration,
        now: Timestamp,
        turn: &mut Turn,
    ) {
        while let Some((at, reader)) = self.next_by_topic(id, turn) {
            let group = self.groups.get_mut(&id).expect("it has a copy");
            group.by_topic.blocked = None;
            match reader {
                Reader::Member(member) => self.send_from_group(id, at, member, now, turn),
                Reader::Nobody => self.withhold_from_group(id, at),
            }
        }
        self.watch_stall(id, patience, now);
    }

    /// The first copy whose member can take it, or that no member may read.
    fn next_by_topic(&mut self, id: OwnerId, turn: &mut Turn) -> Option<(usize, Reader)> {
        self.follow_lineup(id);
        let (sessions, acl) = (&self.sessions, self.acl.as_ref());
        let can_take = |member: &Member| sessions[&member.session].can_take();
        let Group { queue, members, by_topic, .. } = self.groups.get_mut(&id)?;
        if !members.members().any(can_take) {
            return None;
        }
        turn.loads.extend(queue.next_load(id, LOOKAHEAD));
        let ByTopic { awaited, stalled, .. } = by_topic;
        queue.find(LOOKAHEAD, |entry| {
            let topic = &entry.body.as_ref().expect("what is ready has its body").topic;
            let may = |member: SessionId| may_receive(acl, &sessions[&member], topic);
            let picked = members.pick_by_topic(topic, |member| {
                sessions[&member].link.is_some() && !stalled.contains(&member) && may(member)
            });
            let Some(member) = picked else {
                let may_any = members.members().any(|member| may(member.session));
                return (!may_any).then_some(Reader::Nobody);
            };
            if !can_take(&member) {
                awaited.insert(member.session);
                return None;
            }
            Some(Reader::Member(member))
        })
    }

    /// Looks at all copies again, when one that was passed may have another member, or its member
    /// can take it now.
    fn follow_lineup(&mut self, id: OwnerId) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let sessions = &self.sessions;
        let mut lineup = self.acl_changes;
        for member in group.members.members() {
            let is_there = sessions[&member.session].link.is_some();
            lineup = lineup.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            lineup ^= member.session.0 << 1 | u64::from(is_there);
        }
        let Group { queue, by_topic, .. } = group;
        let can_take = |id: &SessionId| sessions.get(id).is_some_and(|session| session.can_take());
        let is_there = |id: &SessionId| sessions.get(id).is_some_and(|s| s.link.is_some());
        let before = by_topic.stalled.len();
        by_topic.stalled.retain(|id| is_there(id) && !can_take(id));
        let has_changed = lineup != by_topic.lineup || by_topic.stalled.len() != before;
        if has_changed || by_topic.awaited.iter().any(can_take) {
            by_topic.lineup = lineup;
            by_topic.awaited.clear();
            queue.look_again();
        }
    }

    /// Nothing more can be sent: whom it waits for, and whether others wait behind that.
    fn watch_stall(&mut self, id: OwnerId, patience: Duration, now: Timestamp) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let mut is_free = false;
        for member in group.members.members().take_while(|_| !group.queue.is_empty()) {
            let look = look(id, &mut self.sessions, member.session, Ability::Free, |_| true);
            is_free |= look == Look::Takes;
        }
        if !is_free || !group.queue.hides_more(LOOKAHEAD) {
            group.by_topic.blocked = None;
        } else if group.by_topic.blocked.is_none() {
            group.by_topic.blocked = Some(now);
            self.timers.set_single(now + patience, Timer::Stall(id));
        }
    }

    /// Others have waited: the topics of who takes nothing go to them.
    pub(super) fn check_stall(&mut self, id: OwnerId, now: Timestamp, turn: &mut Turn) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let Strategy::HashTopic { patience } = group.strategy else {
            return;
        };
        let ByTopic { stalled, blocked, .. } = &mut group.by_topic;
        let Some(since) = *blocked else {
            return;
        };
        if since + patience > now {
            return self.timers.set_single(since + patience, Timer::Stall(id));
        }
        *blocked = None;
        let holds_up = |id: &SessionId| {
            let session = &self.sessions[id];
            session.link.is_some() && !session.can_take()
        };
        let members = group.members.members();
        stalled.extend(members.map(|member| member.session).filter(holds_up));
        group.queue.look_again();
        self.dispatch(id, now, turn);
    }
}
