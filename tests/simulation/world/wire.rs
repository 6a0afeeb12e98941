//! What travels between clients and the broker.

use super::World;
use crate::clients::Deed;
use crate::history::Fact;
use crate::network::{Connection, Parcel, Pipe};

impl World {
    /// Does what a client wants of the network.
    pub(super) fn do_deeds(&mut self, client: usize) {
        for deed in std::mem::take(&mut self.clients[client].deeds) {
            if let Deed::Open = deed {
                self.open(client);
                continue;
            }
            let mine = |connection: &Connection| connection.client == client;
            let Some(at) = self.connections.iter().rposition(mine) else {
                continue;
            };
            match deed {
                Deed::Open => unreachable!("opened above"),
                Deed::Send(bytes) => self.send(at, bytes),
                Deed::Fin => {
                    let (now, weather) = (self.now, self.plan.network);
                    self.connections[at].up.end(Parcel::Fin, now, weather, &mut self.rng);
                    self.leave(at);
                }
                Deed::Reset => {
                    let (now, weather) = (self.now, self.plan.network);
                    let connection = &mut self.connections[at];
                    connection.up.cut(&mut self.rng);
                    connection.up.ended = false;
                    connection.up.end(Parcel::Reset, now, weather, &mut self.rng);
                    self.leave(at);
                }
                Deed::Vanish => {
                    self.coverage.count("silent deaths");
                    self.leave(at);
                }
            }
        }
    }

    /// The client does not look at it any more. Of a broker's side that never hears of it,
    /// what it writes fills the window.
    fn leave(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.client_side = false;
        // A CONNECT that is given up never comes after a newer one: who reads what a client
        // believes could not tell what it may believe.
        let unheard = match (&self.engine, connection.seat) {
            (Some(engine), Some(seat)) => !engine.has_heard(seat),
            _ => false,
        };
        if unheard {
            let (now, weather) = (self.now, self.plan.network);
            connection.up.drop_all();
            connection.up.ended = false;
            connection.up.end(Parcel::Reset, now, weather, &mut self.rng);
        }
    }

    fn open(&mut self, client: usize) {
        for at in self.open.clone() {
            if self.connections[at].client == client && self.connections[at].client_side {
                self.leave(at);
            }
        }
        let seat = self.engine.as_mut().map(|engine| engine.accept());
        let mut connection = Connection {
            client,
            seat,
            is_gone: false,
            client_side: true,
            up: Pipe::default(),
            down: Pipe::default(),
        };
        if seat.is_none() {
            connection.down.end(Parcel::Reset, self.now + 20, self.plan.network, &mut self.rng);
        }
        self.open.push(self.connections.len());
        self.connections.push(connection);
    }

    fn send(&mut self, at: usize, bytes: Vec<u8>) {
        let (now, weather) = (self.now, self.plan.network);
        self.connections[at].up.put(bytes, now, weather, &mut self.rng);
        self.perhaps_cut(at);
    }

    fn perhaps_cut(&mut self, at: usize) {
        if self.rng.u32(..1000) < self.plan.network.cuts {
            self.coverage.count("cuts");
            self.cut(at);
        }
    }

    /// A connection breaks; not everybody hears of it.
    fn cut(&mut self, at: usize) {
        let (now, weather) = (self.now, self.plan.network);
        let connection = &mut self.connections[at];
        for pipe in [&mut connection.up, &mut connection.down] {
            if pipe.ended {
                continue;
            }
            pipe.cut(&mut self.rng);
            if self.rng.u32(..4) > 0 {
                pipe.ended = false;
                pipe.end(Parcel::Reset, now, weather, &mut self.rng);
            }
        }
    }

    /// All connections break.
    pub(super) fn outage(&mut self) {
        self.coverage.count("outages");
        for at in 0..self.connections.len() {
            if self.connections[at].seat.is_some() {
                self.cut(at);
            }
        }
    }

    /// Something reaches the broker.
    pub(super) fn carry_up(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let seat = connection.seat.expect("it is due only with a seat");
        let parcel = connection.up.take().expect("it is due");
        let engine = self.engine.as_mut().expect("a seat needs a broker");
        match parcel {
            Parcel::Bytes(bytes) => engine.read(seat, &bytes),
            Parcel::Fin => engine.peer_gone(seat, false),
            Parcel::Reset => engine.peer_gone(seat, true),
        }
    }

    /// Something reaches a client.
    pub(super) fn carry_down(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let parcel = connection.down.take().expect("it is due");
        let client = &mut self.clients[connection.client];
        let index = client.index;
        match parcel {
            Parcel::Bytes(bytes) => client.receive(at, &bytes, self.now, &mut self.history),
            Parcel::Fin | Parcel::Reset => {
                client.closed(at, &mut self.history);
                self.connections[at].client_side = false;
            }
        }
        self.do_deeds(index);
    }

    /// Takes what the broker's sockets take, and sees which connections it has closed.
    pub(super) fn flush(&mut self) {
        if self.engine.is_none() {
            return;
        }
        let connections = &self.connections;
        self.open.retain(|at| connections[*at].is_open());
        for at in self.open.clone() {
            let Some(seat) = self.connections[at].seat else {
                continue;
            };
            let (now, weather) = (self.now, self.plan.network);
            let engine = self.engine.as_mut().expect("seen above");
            let mut gone = !engine.outboxes.contains_key(&seat);
            if engine.outboxes.get(&seat).is_some_and(|outbox| !outbox.unwritten.is_empty()) {
                let room = match self.connections[at].down.ended {
                    true => 0,
                    false => weather.room.saturating_sub(self.connections[at].down.bytes()),
                };
                let bytes = engine.write(seat, room);
                if !bytes.is_empty() {
                    self.connections[at].down.put(bytes, now, weather, &mut self.rng);
                    self.perhaps_cut(at);
                }
            }
            let engine = self.engine.as_mut().expect("seen above");
            let done =
                |outbox: &crate::engine::Outbox| outbox.closing && outbox.unwritten.is_empty();
            if engine.outboxes.get(&seat).is_some_and(done) {
                engine.outboxes.remove(&seat);
                gone = true;
            }
            if gone || engine.outboxes[&seat].closing {
                self.note_gone(at);
            }
            if gone {
                let connection = &mut self.connections[at];
                connection.seat = None;
                connection.down.end(Parcel::Fin, now, weather, &mut self.rng);
            }
        }
    }

    /// The broker is done with a connection, though last words may be on their way.
    pub(super) fn note_gone(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        if !std::mem::replace(&mut connection.is_gone, true) {
            let client = connection.client;
            self.history.note(Fact::Gone { client, connection: at });
        }
    }
}
