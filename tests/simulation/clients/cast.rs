//! Who is there.

use fastrand::Rng;
use kedgemq::mqtt::Version;

use super::{Client, Temper, Wish};

const STORED: Temper =
    Temper { stored: true, publishes: 15, lazy: 10, refuses: 0, fickle: false, rascal: false };

/// Topic Filter and QoS.
type Wanted = (&'static str, u8);

/// All clients of a seed; the last one reads the retained messages at the end.
pub(crate) fn cast(rng: &mut Rng) -> Vec<Client> {
    use Version::{V5, V31, V311};
    let publisher = Temper { publishes: 60, ..STORED };
    let lazy = Temper { lazy: 70, ..STORED };
    let picky = Temper { refuses: 8, ..lazy };
    let fickle = Temper { fickle: true, refuses: 4, ..lazy };
    let transient = Temper { stored: false, publishes: 30, ..lazy };
    let rascal = Temper { rascal: true, publishes: 30, ..STORED };
    let cast: [(&str, Version, Temper, &[Wanted]); 12] = [
        ("p5", V5, publisher, &[]),
        ("p4", V311, publisher, &[]),
        ("all5", V5, picky, &[("t/#", 2)]),
        ("all4", V311, lazy, &[("#", 2)]),
        ("two5", V5, STORED, &[("t/a", 2), ("t/+", 1), ("r/#", 1)]),
        ("fickle5", V5, fickle, &[("t/#", 2)]),
        ("fickle4", V311, fickle, &[("t/+", 1)]),
        ("m5", V5, Temper { fickle: false, refuses: 4, ..fickle }, &[("$share/g/t/#", 2)]),
        ("m4", V311, lazy, &[("$share/g/t/#", 2)]),
        ("watch", V5, Temper { publishes: 0, ..STORED }, &[("$dead/#", 2)]),
        ("brief", V31, transient, &[("t/#", 1)]),
        ("rascal", V5, rascal, &[("t/b", 1)]),
    ];
    let mut clients = Vec::new();
    for (index, (name, version, temper, wishes)) in cast.into_iter().enumerate() {
        let wish = |(filter, qos): &Wanted| {
            let no_local = !filter.starts_with("$share") && rng.u32(..5) == 0;
            Wish { filter, qos: *qos, no_local }
        };
        let wishes = wishes.iter().map(wish).collect();
        let rng = Rng::with_seed(rng.u64(..));
        clients.push(Client::new(index, name, version, temper, wishes, rng));
    }
    let reader = Temper { stored: false, publishes: 0, lazy: 0, ..STORED };
    let wish = Wish { filter: "r/#", qos: 1, no_local: false };
    let rng = Rng::with_seed(rng.u64(..));
    let mut reader = Client::new(clients.len(), "reader", V5, reader, vec![wish], rng);
    reader.next_act = u64::MAX;
    clients.push(reader);
    clients
}
