//! What the broker says: the letters in its store and the queues of those who are away, asked over
//! its tools' socket. With the ledger it makes the account.

use std::collections::{BTreeMap, BTreeSet};

use kedgemq::admin::call::letter::Filter;
use kedgemq::admin::call::{Answer, Request};
use kedgemq::admin::{CallError, Client};

use crate::Fleet;
use crate::ledger::{Fate, Key, Kind, Ledger};
use crate::station::Fortune;

/// A page of a queue.
const PAGE: u64 = 500;

/// The broker, asked.
pub(crate) struct Audit {
    client: Client,
}

impl Audit {
    pub(crate) fn connect(fleet: &Fleet) -> Result<Self, String> {
        let client = Client::connect(&fleet.place.data).map_err(|error| error.to_string())?;
        Ok(Self { client })
    }

    /// Puts into the ledger what is dead and what waits.
    pub(crate) fn look(&mut self, fleet: &Fleet) -> Result<Open, String> {
        let queued = self.queued(fleet)?;
        // Asked last: what died in between is not missed.
        let letters = self.letters(fleet)?;
        let mut ledger = fleet.ledger.lock();
        for (key, message) in &mut ledger.messages {
            message.queued = queued.contains(key);
            message.letter = None;
        }
        let stored = letters.len();
        for (payload, reason) in letters {
            ledger.died(payload.as_bytes(), &reason);
        }
        let mut open = Open {
            moving: 0,
            missing: 0,
            stored,
            unheard: stored.saturating_sub(ledger.heard.len()),
        };
        for (key, message) in &ledger.messages {
            match message.fate() {
                Fate::Kept => open.moving += 1,
                Fate::Queued if is_there(key) => open.moving += 1,
                Fate::Lost if key.kind.qos() > 0 => open.missing += 1,
                _ => {}
            }
        }
        Ok(open)
    }

    /// Payloads and reasons of all letters of this fleet.
    fn letters(&mut self, fleet: &Fleet) -> Result<Vec<(String, String)>, String> {
        let topic = Some(format!("{}/#", fleet.prefix));
        let filter = Filter { topic, ..Filter::default() };
        let (mut after, mut all) = (0, Vec::new());
        loop {
            let request = Request::Letters { filter: filter.clone(), after, payload: true };
            let Answer::Letters(page) = self.ask(&request)? else {
                return Err("the broker did not answer with letters".into());
            };
            let told = |letter: kedgemq::admin::call::letter::Letter| {
                (letter.payload.unwrap_or_default(), letter.reason)
            };
            all.extend(page.letters.into_iter().map(told));
            match page.next {
                Some(next) => after = next,
                None => return Ok(all),
            }
        }
    }

    /// What waits for anybody of this fleet.
    fn queued(&mut self, fleet: &Fleet) -> Result<BTreeSet<Key>, String> {
        let mut all = BTreeSet::new();
        for client in self.waited_for(fleet)? {
            let mut after = 0;
            loop {
                let client = client.clone();
                let request = Request::Queue { client, after, limit: PAGE, payload: true };
                let page = match self.client.call(&request, &mut |_| {}) {
                    Ok(Answer::Queue(page)) => page,
                    // Its session ended meanwhile.
                    Ok(_) | Err(CallError::Refused(_)) => break,
                    Err(error) => return Err(error.to_string()),
                };
                let payloads = page.copies.iter().filter_map(|copy| copy.payload.as_deref());
                all.extend(payloads.filter_map(|payload| Key::read(payload.as_bytes())));
                match page.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
        }
        Ok(all)
    }

    /// Clients of this fleet for whom something waits or is in flight.
    fn waited_for(&mut self, fleet: &Fleet) -> Result<Vec<String>, String> {
        let (mut after, mut all) = (None, Vec::new());
        loop {
            let Answer::Sessions(page) = self.ask(&Request::Sessions { after })? else {
                return Err("the broker did not answer with sessions".into());
            };
            let ours = page.sessions.into_iter().filter(|session| {
                let waits = session.queued + session.in_flight > 0;
                waits && session.client.starts_with(&fleet.client_id(""))
            });
            all.extend(ours.map(|session| session.client));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, String> {
        self.client.call(request, &mut |_| {}).map_err(|error| error.to_string())
    }
}

/// Whether whom it is for is connected, and will have it soon.
fn is_there(key: &Key) -> bool {
    let fortune = Fortune::of(key.device);
    key.kind != Kind::Command || matches!(fortune, Fortune::Flaky | Fortune::Reset)
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// Messages that go on by themselves: to the broker, or to a client that is there.
    pub(crate) moving: usize,
    /// Messages that were acknowledged and are nowhere.
    pub(crate) missing: usize,
    /// Letters in the store.
    pub(crate) stored: usize,
    /// Of these, not heard on `$dead/#`.
    pub(crate) unheard: usize,
}

/// A line of the account.
struct Sum {
    kind: Kind,
    /// As the publishers counted.
    sent: usize,
    fates: BTreeMap<Fate, usize>,
    /// Received more than once.
    doubled: usize,
    /// Received and dead: the acknowledgement did not come through before its session ended.
    both: usize,
}

impl Sum {
    fn of(ledger: &Ledger, kind: Kind) -> Self {
        let sent = ledger.sent.get(&kind).copied().unwrap_or_default();
        let mut sum = Self { kind, sent, fates: BTreeMap::new(), doubled: 0, both: 0 };
        for (_, message) in ledger.messages.iter().filter(|(key, _)| key.kind == kind) {
            *sum.fates.entry(message.fate()).or_default() += 1;
            sum.doubled += usize::from(message.received > 1);
            sum.both += usize::from(message.received > 0 && message.letter.is_some());
        }
        sum
    }

    fn count(&self, fate: &Fate) -> usize {
        self.fates.get(fate).copied().unwrap_or_default()
    }

    /// By reason.
    fn dead(&self) -> impl Iterator<Item = (&str, usize)> {
        self.fates.iter().filter_map(|(fate, count)| match fate {
            Fate::Dead(reason) => Some((&**reason, *count)),
            _ => None,
        })
    }

    fn row(&self) -> String {
        let dead: usize = self.dead().map(|(_, count)| count).sum();
        let [delivered, queued, unwanted, kept, lost] =
            [Fate::Delivered, Fate::Queued, Fate::Unwanted, Fate::Kept, Fate::Lost]
                .map(|fate| self.count(&fate));
        let numbers = [self.sent, delivered, queued, dead, unwanted, kept, lost, self.doubled];
        row(self.kind.word(), &self.kind.qos().to_string(), numbers.map(|it| it.to_string()))
    }

    /// What must not be.
    fn wrong(&self) -> impl Iterator<Item = String> {
        let (kept, lost) = (self.count(&Fate::Kept), self.count(&Fate::Lost));
        let (qos, all) = (self.kind.qos(), self.fates.values().sum::<usize>());
        let checks = [
            (all != self.sent, format!("{} were sent, but {all} have a fate", self.sent)),
            (kept > 0, format!("{kept} were never acknowledged")),
            (lost > 0 && qos > 0, format!("{lost} were acknowledged and are nowhere")),
            (self.doubled > 0 && qos != 1, format!("{} came more than once", self.doubled)),
            (self.both > 0 && qos == 2, format!("{} were delivered and are dead", self.both)),
        ];
        let wrong = checks.into_iter().filter_map(|(is_wrong, what)| is_wrong.then_some(what));
        wrong.map(|what| format!("{}: {what}", self.kind.word()))
    }
}

fn row(first: &str, qos: &str, cells: [impl AsRef<str>; 8]) -> String {
    let widths = [8, 10, 7, 7, 9, 7, 7, 8];
    let cells = cells.iter().zip(widths);
    let cells: String = cells.map(|(cell, width)| format!("{:>width$}", cell.as_ref())).collect();
    format!("{first:<10}{qos:>4}{cells}\n")
}

/// The account as text, and what is wrong with it.
pub(crate) fn account(ledger: &Ledger, open: Open) -> (String, Vec<String>) {
    let head = ["SENT", "DELIVERED", "QUEUED", "DEAD", "UNWANTED", "KEPT", "LOST", "DOUBLED"];
    let mut text = row("", "QOS", head);
    let mut wrong = ledger.problems.clone();
    let mut reasons = BTreeMap::<String, usize>::new();
    let (mut both, mut unwanted) = (0, 0);
    for sum in Kind::ALL.map(|kind| Sum::of(ledger, kind)) {
        text.push_str(&sum.row());
        wrong.extend(sum.wrong());
        for (reason, count) in sum.dead() {
            *reasons.entry(reason.to_owned()).or_default() += count;
        }
        both += sum.both;
        unwanted += sum.count(&Fate::Unwanted);
    }
    if open.moving > 0 {
        wrong.push(format!("{} are still on their way: it needs more --patience", open.moving));
    }
    let dead: usize = reasons.values().sum();
    if dead != open.stored {
        wrong.push(format!("{} letters are in the store, but {dead} are dead", open.stored));
    }
    let reasons = reasons.iter().map(|(reason, count)| format!("{count} {reason}"));
    text.push_str(&format!("dead: {}\n", reasons.collect::<Vec<_>>().join(", ")));
    if both > 0 {
        text.push_str(&format!(
            "{both} of the dead had come, but the link was cut before PUBACK\n"
        ));
    }
    if unwanted > 0 {
        text.push_str(&format!("{unwanted} came when nobody subscribed, and PUBACK said so\n"));
    }
    let Ledger { cuts, connects, crashes, heard, .. } = ledger;
    text.push_str(&format!("{} letters heard on $dead/#\n", heard.len()));
    text.push_str(&format!("{connects} connections, {cuts} cuts, {crashes} crashes\n"));
    (text, wrong)
}
