//! Every copy is accounted for, by numbers. For each seed, of what was published at QoS 1 or 2:
//!
//! **owed = acknowledged + dead + counted**, with nothing queued at the end,
//!
//! where *owed* is each message that the broker took (wills, redriven letters and what a
//! subscription brings of retained messages among them) for each owner with a matching
//! subscription and the right at that time, *acknowledged* are PUBACK and PUBREC that the broker
//! handled, *dead* are letters written, and *counted* is what the counters say of copies of which
//! no letter is kept: deaths for reasons that are switched off, and `session_ended`. For an owner
//! that was stored all along, where every reason keeps letters, owed = acknowledged + dead alone.
//! And in every life of the broker, exactly: the deaths counted for a reason that keeps letters
//! are the letters written for it, and the letters counted as dropped are those that went.
//!
//! Without a crash this is an equation. A crash may undo what its broker had not on disk, and a
//! transient session's copies go with the process: so each side has a number of what is sure and
//! one of what is possible, and the equation holds between them. The owner `watch` is left out:
//! about letters there are no letters, they stay in the store.

use std::collections::{BTreeMap, BTreeSet};

use kedgemq::auth::Access;
use kedgemq::mqtt::topic;
use kedgemq::turn::DeadReason;

use super::Broken;
use super::reading::{Rights, clients, counted_only, ledger};
use crate::history::{Departure, Entered, Fact, History, Seat, Table, Tag};

/// The sure and the possible number.
#[derive(Clone, Copy, Debug, Default)]
struct Number {
    sure: u64,
    possible: u64,
}

impl Number {
    fn add(&mut self, count: u64, is_sure: bool) {
        self.possible += count;
        self.sure += if is_sure { count } else { 0 };
    }
}

/// One owner's copies of one message.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    owed: Number,
    settled: Number,
}

impl Account {
    /// Neither acknowledged nor dead: at least, and at most.
    fn open(&self) -> (u64, u64) {
        let least = self.owed.sure.saturating_sub(self.settled.possible);
        (least, self.owed.possible.saturating_sub(self.settled.sure))
    }
}

/// All that is added up.
#[derive(Default)]
struct Books {
    groups: BTreeMap<Tag, Tag>,
    table: Table,
    accounts: BTreeMap<(Tag, Tag), Account>,
    counted: Number,
    /// Owners that were transient at some time.
    transient: BTreeSet<Tag>,
}

pub(super) fn check(history: &History) -> Result<(), Broken> {
    check_counters(history)?;
    if !history.facts().any(|(_, _, fact)| matches!(fact, Fact::Quiet)) {
        return Ok(());
    }
    let (books, off) = (read(history), counted_only(history));
    let (mut least, mut most, mut example) = (0, 0, None);
    for ((owner, tag), account) in &books.accounts {
        let (at_least, at_most) = account.open();
        if at_least > 0 && off.is_empty() && !books.transient.contains(owner) {
            let what = format!("«{tag}» for {owner} is neither acknowledged nor dead: {account:?}");
            return Err(Broken::of(tag, what));
        }
        if at_most > 0 {
            example = example.or(Some(tag));
        }
        least += at_least;
        most += at_most;
    }
    let counted = books.counted;
    if least > counted.possible || counted.sure > most {
        let what = format!("{least} to {most} copies are open, and {counted:?} are counted");
        return Err(match example {
            Some(tag) => Broken::of(tag, what),
            None => Broken::new(what),
        });
    }
    Ok(())
}

fn read(history: &History) -> Books {
    let rights = Rights::new(history);
    let off = counted_only(history);
    let (names, _) = clients(history);
    let mut books = Books { groups: groups(history), ..Books::default() };
    let mut entries = ledger(history).into_iter().peekable();
    for (index, _, fact) in history.facts() {
        match fact {
            Fact::Table(table) => {
                let transient = table.iter().filter(|seat| !seat.stored);
                books.transient.extend(transient.map(|seat| seat.name.clone()));
                books.table = table.clone();
            }
            Fact::Crashed { .. } => books.crash(),
            Fact::Ledger { .. } => {
                let (_, _, entered, is_sure) = entries.next().expect("one for each");
                books.enter(entered, (index, is_sure), &rights, &names, off);
            }
            _ => {}
        }
    }
    books
}

impl Books {
    fn enter(
        &mut self,
        entered: &Entered,
        (index, is_sure): (usize, bool),
        rights: &Rights<'_>,
        names: &BTreeMap<usize, &str>,
        off: &[DeadReason],
    ) {
        match entered {
            Entered::Took { topic, tag, publisher, after } => {
                let may = |name: &str| rights.may(index, name, topic, Access::Receive);
                let testator = || {
                    let client = tag.strip_prefix('w')?.split('-').next()?.parse().ok()?;
                    names.get(&client).copied()
                };
                let publisher = publisher.as_deref().or_else(testator);
                let after = after.as_ref().unwrap_or(&self.table);
                let before = owners(&self.table, topic, publisher, may);
                let after = owners(after, topic, publisher, may);
                for owner in before.union(&after) {
                    let is_owed = before.contains(owner) && after.contains(owner);
                    self.account(owner, tag).owed.add(1, is_sure && is_owed);
                }
            }
            Entered::Retained { owner, tag } => self.account(owner, tag).owed.add(1, is_sure),
            Entered::Forgotten { owner, tag, how: Departure::ToOwner, .. } => {
                self.account(owner, tag).owed.add(1, is_sure);
            }
            Entered::Forgotten { tag, topic, how: Departure::ToTopic, .. } => {
                let may = |name: &str| rights.may(index, name, topic, Access::Receive);
                for owner in owners(&self.table, topic, None, may) {
                    self.account(&owner, tag).owed.add(1, is_sure);
                }
            }
            Entered::Settled { client, tag } => {
                let owner = self.groups.get(client).unwrap_or(client).clone();
                self.account(&owner, tag).settled.add(1, is_sure);
            }
            Entered::Died { owner, tag, .. } => self.account(owner, tag).settled.add(1, is_sure),
            Entered::Counted { dead, session_ended, .. } => {
                let dead = off.iter().map(|reason| dead[*reason as usize]).sum::<u64>();
                self.counted.add(dead + session_ended, is_sure);
            }
            Entered::Forgotten { .. } => {}
        }
    }

    fn account(&mut self, owner: &Tag, tag: &Tag) -> &mut Account {
        self.accounts.entry((owner.clone(), tag.clone())).or_default()
    }

    /// What transient sessions had goes with the process.
    fn crash(&mut self) {
        let transient = self.table.iter().filter(|seat| !seat.stored);
        let names: BTreeSet<Tag> = transient.map(|seat| seat.name.clone()).collect();
        for ((owner, _), account) in &mut self.accounts {
            if names.contains(owner) {
                account.owed.sure = 0;
            }
        }
    }
}

/// Who is owed a copy of what is published to `topic`.
fn owners(
    table: &[Seat],
    to: &str,
    publisher: Option<&str>,
    may_read: impl Fn(&str) -> bool,
) -> BTreeSet<Tag> {
    let mut owners = BTreeSet::new();
    for seat in table {
        for (filter, _, no_local) in &seat.subscriptions {
            let is_own = *no_local && publisher == Some(&*seat.name);
            if let Some(shared) = filter.strip_prefix("$share/") {
                let (_, inner) = shared.split_once('/').expect("a name and a filter");
                if topic::matches(to, inner) && may_read(&seat.name) {
                    owners.insert(group_name(filter));
                }
            } else if topic::matches(to, filter) && !is_own && may_read(&seat.name) {
                owners.insert(seat.name.clone());
            }
        }
    }
    owners
}

/// The share group of each member, which has nothing of its own in these worlds.
fn groups(history: &History) -> BTreeMap<Tag, Tag> {
    let (names, _) = clients(history);
    let group = |(_, _, fact)| match fact {
        &Fact::Subscribe { client, ref filter, .. } if filter.starts_with("$share/") => {
            Some((names[&client].into(), group_name(filter)))
        }
        _ => None,
    };
    history.facts().filter_map(group).collect()
}

/// As dead letters name it.
fn group_name(filter: &str) -> Tag {
    filter.replacen('/', "~", 2).into()
}

/// In each life of the broker: deaths counted are letters written, letters dropped are counted.
fn check_counters(history: &History) -> Result<(), Broken> {
    let off = counted_only(history);
    let mut written = [0_u64; DeadReason::ALL.len()];
    let mut counted = written;
    let (mut dropped, mut went) = (0, 0);
    for (_, _, entered, _) in ledger(history) {
        match entered {
            Entered::Died { reason, .. } => written[*reason as usize] += 1,
            Entered::Forgotten { how: Departure::Dropped, .. } => went += 1,
            Entered::Counted { dead, dead_dropped, aged_out, .. } => {
                dropped += dead_dropped + aged_out;
                for (counted, dead) in counted.iter_mut().zip(dead) {
                    *counted += dead;
                }
            }
            _ => {}
        }
    }
    for reason in DeadReason::ALL {
        let (written, counted) = (written[reason as usize], counted[reason as usize]);
        let fits = if off.contains(&reason) { written == 0 } else { written == counted };
        if !fits {
            let what = format!("{counted} died of {}, {written} letters", reason.as_str());
            return Err(Broken::new(what));
        }
    }
    if dropped != went {
        return Err(Broken::new(format!("{dropped} letters counted as dropped, {went} went")));
    }
    Ok(())
}
