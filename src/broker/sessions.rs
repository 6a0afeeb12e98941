//! All sessions, found by their id, or, as each packet does, by their connection: without a search.
//!
//! Invariant: a connected session is at the place that `linked` has for the slot of its connection.

use std::ops::Index;

use super::{Map, new_map};
use crate::session::Session;
use crate::turn::{ConnectionId, SessionId};

/// Why a packet's connection has a session.
pub(super) const USED: &str = "who handles a packet looked the session up";

/// Not the place of any session.
const NOWHERE: u32 = u32::MAX;

/// Sessions, each in its place for as long as it lives.
#[derive(Debug)]
pub(super) struct Sessions {
    places: Map<SessionId, u32>,
    all: Vec<Option<Box<Session>>>,
    free: Vec<u32>,
    /// By slot of the connection. It stays behind when the connection or the session ends.
    linked: Vec<u32>,
}

impl Sessions {
    pub(super) fn new(seed: u64) -> Self {
        Self { places: new_map(seed), all: Vec::new(), free: Vec::new(), linked: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn contains_key(&self, id: &SessionId) -> bool {
        self.places.contains_key(id)
    }

    pub(super) fn get(&self, id: &SessionId) -> Option<&Session> {
        let place = *self.places.get(id)?;
        self.all[place as usize].as_deref()
    }

    pub(super) fn get_mut(&mut self, id: &SessionId) -> Option<&mut Session> {
        let place = *self.places.get(id)?;
        self.all[place as usize].as_deref_mut()
    }

    /// The session that a connection uses, as long as it does.
    pub(super) fn of_connection(&mut self, id: ConnectionId) -> Option<&mut Session> {
        let place = *self.linked.get(id.slot as usize)?;
        let session = self.all.get_mut(place as usize)?.as_deref_mut()?;
        session.link.as_ref().is_some_and(|link| link.id == id).then_some(session)
    }

    /// The connected ones, in the order of their connections' slots.
    pub(super) fn connected(&self) -> impl Iterator<Item = &Session> {
        (0_u32..).zip(&self.linked).filter_map(|(slot, &place)| {
            let session = self.all.get(place as usize)?.as_deref()?;
            session.link.as_ref().is_some_and(|link| link.id.slot == slot).then_some(session)
        })
    }

    pub(super) fn insert(&mut self, session: Box<Session>) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            u32::try_from(self.all.len() - 1).expect("memory ends before")
        });
        let before = self.places.insert(session.id, place);
        assert!(before.is_none(), "a session's id is its own");
        self.all[place as usize] = Some(session);
    }

    pub(super) fn remove(&mut self, id: &SessionId) -> Option<Box<Session>> {
        let place = self.places.remove(id)?;
        self.free.push(place);
        self.all[place as usize].take()
    }

    /// A session has a connection from now on: its link says which.
    pub(super) fn link(&mut self, id: ConnectionId, session: SessionId) {
        let slot = id.slot as usize;
        if self.linked.len() <= slot {
            self.linked.resize(slot + 1, NOWHERE);
        }
        self.linked[slot] = self.places[&session];
    }
}

impl Index<&SessionId> for Sessions {
    type Output = Session;

    fn index(&self, id: &SessionId) -> &Session {
        self.get(id).expect("a session in use is there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::Version;
    use crate::session::link::Link;
    use crate::time::Timestamp;
    use crate::turn::OwnerId;

    fn connect(sessions: &mut Sessions, session: u64, id: ConnectionId) {
        let session = OwnerId(session);
        let link = Link::new(id, Version::V5, Timestamp(0));
        sessions.get_mut(&session).unwrap().link = Some(Box::new(link));
        sessions.link(id, session);
    }

    /// Also when others have had the slot, the place, or both.
    #[test]
    fn a_connection_finds_its_own_session_only() {
        let mut sessions = Sessions::new(1);
        let add = |sessions: &mut Sessions, id| {
            let session = Session::new(OwnerId(id), "c".into(), Version::V5, 0);
            sessions.insert(Box::new(session));
        };
        let id = |slot, generation| ConnectionId { slot, generation };
        let found = |sessions: &mut Sessions, id| sessions.of_connection(id).map(|s| s.id.0);
        (1..=3).for_each(|id| add(&mut sessions, id));
        assert_eq!(found(&mut sessions, id(0, 0)), None);
        connect(&mut sessions, 2, id(1, 0));
        connect(&mut sessions, 1, id(2, 0));
        assert_eq!(found(&mut sessions, id(1, 0)), Some(2));
        assert_eq!(found(&mut sessions, id(0, 0)), None);
        let connected: Vec<_> = sessions.connected().map(|session| session.id.0).collect();
        assert_eq!(connected, [2, 1]);
        sessions.remove(&OwnerId(2)).unwrap();
        add(&mut sessions, 4);
        assert_eq!(found(&mut sessions, id(1, 0)), None);
        connect(&mut sessions, 4, id(3, 5));
        assert_eq!(found(&mut sessions, id(3, 5)), Some(4));
        assert_eq!(found(&mut sessions, id(1, 0)), None);
        sessions.get_mut(&OwnerId(4)).unwrap().link = None;
        assert_eq!(found(&mut sessions, id(3, 5)), None);
        connect(&mut sessions, 3, id(3, 6));
        assert_eq!(found(&mut sessions, id(3, 5)), None);
        assert_eq!(found(&mut sessions, id(3, 6)), Some(3));
        assert_eq!(sessions.connected().count(), 2);
        assert_eq!(sessions.len(), 3);
    }
}
