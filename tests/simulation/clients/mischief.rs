//! What breaks rules, or nearly does.

use kedgemq::mqtt::Packet;

use super::{Client, Deed, packets};
use crate::history::{Fact, History, Kind};

impl Client {
    pub(super) fn misbehave(&mut self, now: u64, history: &mut History) {
        let Some(connection) = self.link.as_ref().map(|link| link.connection) else {
            return;
        };
        let client = self.index;
        let mut note = |how| history.note(Fact::Misbehaved { client, connection, how });
        match self.rng.u32(..6) {
            0 => {
                note("second CONNECT");
                let second = packets::Connecting {
                    version: self.version,
                    clean: false,
                    name: &self.name,
                    keep_alive: 0,
                    expiry: None,
                    window: None,
                    size: None,
                    aliases: 0,
                    will: None,
                };
                let mut bytes = Vec::new();
                let version = self.version;
                kedgemq::mqtt::codec::client::encode(&second.packet(), version, &mut bytes);
                self.deeds.push(Deed::Send(bytes));
            }
            1 => {
                note("acknowledges what was not sent");
                let id = self.rng.u16(40_000..50_000);
                let kinds = [Kind::PubAck, Kind::PubRec, Kind::PubComp];
                let kind = self.rng.choice(kinds).expect("three");
                self.say(&packets::ack(kind, id, 0), now);
            }
            2 => {
                note("releases what was not received");
                let id = self.rng.u16(60_000..);
                self.say(&packets::release(id), now);
            }
            3 => {
                note("overruns the window");
                self.link.as_mut().expect("seen above").quota = usize::MAX;
                for _ in 0..12 {
                    self.publish(now, history);
                }
            }
            4 => {
                note("sends what is no packet");
                // Packet type 0 does not exist, so what follows is not taken for one.
                let noise = (0..self.rng.usize(1..20)).map(|_| self.rng.u8(..));
                self.deeds.push(Deed::Send(std::iter::once(0).chain(noise).collect()));
            }
            _ => {
                note("AUTH out of the blue");
                self.say(&Packet::PingReq, now);
                self.deeds.push(Deed::Send(vec![0xF0, 0x00]));
            }
        }
    }
}
