//! What the broker says: the letters in its store and the queues of those who are away, asked over
//! its tools' socket. With the ledger it makes the account.

use std::collections::{BTreeMap, BTreeSet};

use kedgemq::admin::call::letter::Filter;
use kedgemq::admin::call::{Answer, Request};
use kedgemq::admin::{CallError, Client};

use crate::Fleet;
use crate::ledger::{Fate, Key, Kind, Ledger};

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

    /// Puts into the ledger what is dead and what waits. Gives the number of messages that are
    /// not accounted for yet, and of letters that nobody heard.
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
        let is_open = |(key, message): &(&Key, &crate::ledger::Message)| match message.fate() {
            Fate::Kept => true,
            Fate::Lost => key.kind.qos() > 0,
            // Whoever is there will have it soon.
            Fate::Queued => key.kind != Kind::Command,
            _ => false,
        };
        let messages = ledger.messages.iter().filter(is_open).count();
        Ok(Open { messages, stored, unheard: stored.saturating_sub(ledger.heard.len()) })
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

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// Messages that are not accounted for.
    pub(crate) messages: usize,
    /// Letters in the store.
    pub(crate) stored: usize,
    /// Of these, not heard on `$dead/#`.
    pub(crate) unheard: usize,
}

/// A line of the account.
#[derive(Default)]
struct Sum {
    sent: usize,
    fates: BTreeMap<Fate, usize>,
    /// Received more than once.
    again: usize,
    /// Received and dead: the acknowledgement did not come through before its session ended.
    both: usize,
}

impl Sum {
    fn of(ledger: &Ledger, kind: Kind) -> Self {
        let mut sum = Self::default();
        for (_, message) in ledger.messages.iter().filter(|(key, _)| key.kind == kind) {
            sum.sent += 1;
            *sum.fates.entry(message.fate()).or_default() += 1;
            sum.again += usize::from(message.received > 1);
            sum.both += usize::from(message.received > 0 && message.letter.is_some());
        }
        sum
    }

    fn count(&self, fate: &Fate) -> usize {
        self.fates.get(fate).copied().unwrap_or_default()
    }

    fn dead(&self) -> impl Iterator<Item = (&str, usize)> {
        self.fates.iter().filter_map(|(fate, count)| match fate {
            Fate::Dead(reason) => Some((&**reason, *count)),
            _ => None,
        })
    }
}

/// The account as text, and what is wrong with it.
pub(crate) fn account(ledger: &Ledger, open: Open) -> (String, Vec<String>) {
    let mut text = format!(
        "{:<10} {:>3} {:>8} {:>9} {:>7} {:>6} {:>8} {:>6} {:>6} {:>7}\n",
        "", "QOS", "SENT", "DELIVERED", "QUEUED", "DEAD", "UNWANTED", "KEPT", "LOST", "DOUBLED"
    );
    let mut wrong = ledger.problems.clone();
    let mut reasons = BTreeMap::<String, usize>::new();
    let mut both = 0;
    for kind in Kind::ALL {
        let sum = Sum::of(ledger, kind);
        let dead: usize = sum.dead().map(|(_, count)| count).sum();
        for (reason, count) in sum.dead() {
            *reasons.entry(reason.to_owned()).or_default() += count;
        }
        both += sum.both;
        let fates = [Fate::Delivered, Fate::Queued, Fate::Unwanted, Fate::Kept, Fate::Lost];
        let [delivered, queued, unwanted, kept, lost] = fates.map(|fate| sum.count(&fate));
        text.push_str(&format!(
            "{:<10} {:>3} {:>8} {:>9} {:>7} {:>6} {:>8} {:>6} {:>6} {:>7}\n",
            kind.word(),
            kind.qos(),
            sum.sent,
            delivered,
            queued,
            dead,
            unwanted,
            kept,
            lost,
            sum.again
        ));
        let word = kind.word();
        if sum.sent != delivered + queued + dead + unwanted + kept + lost {
            wrong.push(format!("{word}: the sum is not {}", sum.sent));
        }
        if kept > 0 {
            wrong.push(format!("{word}: {kept} were never acknowledged"));
        }
        if lost > 0 && kind.qos() > 0 {
            wrong.push(format!("{word}: {lost} were acknowledged and are nowhere"));
        }
        if sum.again > 0 && kind.qos() != 1 {
            wrong.push(format!("{word}: {} came more than once", sum.again));
        }
        if sum.both > 0 && kind.qos() == 2 {
            wrong.push(format!("{word}: {} were delivered and died, too", sum.both));
        }
    }
    let all: usize = reasons.values().sum();
    if all != open.stored {
        wrong.push(format!("{} letters are in the store, of {all} messages", open.stored));
    }
    let reasons = reasons.iter().map(|(reason, count)| format!("{count} {reason}"));
    let reasons: Vec<_> = reasons.collect();
    text.push_str(&format!("dead: {}\n", reasons.join(", ")));
    if both > 0 {
        text.push_str(&format!("{both} of the dead had come, but nobody acknowledged them\n"));
    }
    let Ledger { cuts, connects, crashes, heard, .. } = ledger;
    text.push_str(&format!("{} letters heard on $dead/#\n", heard.len()));
    text.push_str(&format!("{connects} connections, {cuts} cuts, {crashes} crashes\n"));
    (text, wrong)
}
