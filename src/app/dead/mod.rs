//! `kedgemq dead`: the dead letters of a running broker.

use std::io::Write as _;

use super::args::{Dead, DeadCommand, Moment, Name, To, Which};
use super::ask::{Asked, Table, answer, duration, json, plain, seconds, write};
use super::config::Place;
use super::failure::Failure;
use super::store::{create, size, unwritable};
use crate::admin::call::Request;
use crate::admin::call::letter::{Action, Counts, Filter, Letter};

mod task;

/// Does what `kedgemq dead …` says.
pub(super) fn obey(line: &Dead, place: &Place) -> Result<(), Failure> {
    let mut broker = Asked::connect(&line.broker, place)?;
    let broker = &mut broker;
    match &line.command {
        DeadCommand::List { which } => list(broker, filter(None, which)),
        DeadCommand::Show { id } => show(broker, id),
        DeadCommand::Republish { id, which, rate } => {
            task::run(broker, Action::Republish, filter(id.as_ref(), which), *rate)
        }
        DeadCommand::Redrive { id, which, dry_run: true, .. } => {
            dry_run(broker, filter(id.as_ref(), which)).map(drop)
        }
        DeadCommand::Redrive { id, which, rate, to, .. } => {
            let action = match to {
                To::Owner => Action::RedriveToOwner,
                To::Topic => Action::RedriveToTopic,
            };
            task::run(broker, action, filter(id.as_ref(), which), *rate)
        }
        DeadCommand::Purge { id, which, yes: false } => {
            let counts = dry_run(broker, filter(id.as_ref(), which))?;
            if counts.letters > 0 {
                let _ = writeln!(std::io::stderr(), "nothing is purged yet: add --yes");
            }
            Ok(())
        }
        DeadCommand::Purge { id, which, yes: true } => {
            task::run(broker, Action::Purge, filter(id.as_ref(), which), 0)
        }
        DeadCommand::Export { file, which } => export(
            broker,
            filter(None, which),
            &place.directory.join(file),
            file.as_os_str() == "-",
        ),
        DeadCommand::Tasks => task::list(broker),
        DeadCommand::Cancel { id } => task::cancel(broker, *id),
    }
}

fn filter(name: Option<&Name>, which: &Which) -> Filter {
    let (id, dl_id) = match name {
        None => (None, None),
        Some(Name::Id(id)) => (Some(*id), None),
        Some(Name::DlId(dl_id)) => (None, Some(dl_id.clone())),
    };
    let ms = |moment: Option<Moment>| moment.map(|Moment(ms)| ms);
    Filter {
        reason: which.reason.clone(),
        owner: which.owner.clone(),
        topic: which.topic.clone(),
        since_unix_ms: ms(which.since),
        until_unix_ms: ms(which.until),
        id,
        dl_id,
        limit: which.limit,
    }
}

/// All letters that are meant, page by page, until `see` wants no more.
fn each_page(
    broker: &mut Asked,
    mut filter: Filter,
    payload: bool,
    see: &mut dyn FnMut(&[Letter]) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut after = 0;
    loop {
        let request = Request::Letters { filter: filter.clone(), after, payload };
        let page = broker.ask(&request, answer!(Letters))?;
        if let Some(limit) = &mut filter.limit {
            *limit = limit.saturating_sub(page.letters.len() as u64);
        }
        if !see(&page.letters)? || filter.limit == Some(0) {
            return Ok(());
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(()),
        }
    }
}

fn list(broker: &mut Asked, filter: Filter) -> Result<(), Failure> {
    let is_json = broker.json;
    let head = ["ID", "TIME", "REASON", "OWNER", "TOPIC", "SIZE", "DEATHS", "RETRY"];
    let mut table = Table::new(head);
    each_page(broker, filter, false, &mut |letters| {
        if is_json {
            return Ok(write(&lines(letters)?));
        }
        let rows: Vec<_> = letters.iter().map(row).collect();
        Ok(write(&table.rows(&rows)))
    })
}

fn row(letter: &Letter) -> [String; 8] {
    [
        letter.id.to_string(),
        seconds(&letter.time),
        letter.reason.clone(),
        letter.owner.clone(),
        letter.topic.clone(),
        letter.size.to_string(),
        letter.deaths.to_string(),
        letter.retry.as_deref().map_or_else(|| "-".to_owned(), seconds),
    ]
}

fn lines(letters: &[Letter]) -> Result<String, Failure> {
    letters.iter().map(json).collect()
}

fn show(broker: &mut Asked, name: &Name) -> Result<(), Failure> {
    let filter = filter(Some(name), &Which::default());
    let request = Request::Letters { filter, after: 0, payload: true };
    let page = broker.ask(&request, answer!(Letters))?;
    let Some(letter) = page.letters.first() else {
        return Err(Failure::machine(format_args!("there is no dead letter {name}")));
    };
    write(&if broker.json { json(letter)? } else { text(letter) });
    Ok(())
}

fn text(letter: &Letter) -> String {
    let some = |value: &Option<String>| value.clone().unwrap_or_default();
    let code = format!("{} {}", some(&letter.reason_code), some(&letter.reason_string));
    let expiry = letter.expiry.map(|expiry| duration(u64::from(expiry) * 1000));
    let facts = [
        ("id", letter.id.to_string()),
        ("dl-id", letter.dl_id.clone()),
        ("died", format!("{}, {} old", letter.time, duration(letter.age_ms))),
        ("reason", letter.reason.clone()),
        ("first reason", letter.first_reason.clone()),
        ("subscriber", code.trim().to_owned()),
        ("owner", letter.owner.clone()),
        ("filter", some(&letter.filter)),
        ("topic", letter.topic.clone()),
        ("qos", letter.qos.to_string()),
        ("retain", letter.retain.to_string()),
        ("deliveries", letter.deliveries.to_string()),
        ("deaths", letter.deaths.to_string()),
        ("redrives", letter.redrives.to_string()),
        ("retry", some(&letter.retry)),
        ("expiry", expiry.unwrap_or_default()),
        ("size", size(letter.size).to_string()),
    ];
    let own = letter.user_properties.iter().map(|(name, value)| format!("{name} = {value}"));
    let own = own.map(|property| ("property", property));
    let payload = match (&letter.payload, &letter.payload_base64) {
        (_, Some(base64)) => ("payload base64", base64.clone()),
        (text, None) => ("payload", some(text)),
    };
    let all = facts.into_iter().chain(own).chain([payload]);
    let said = all.filter(|(_, value)| !value.is_empty());
    said.map(|(name, value)| format!("{name:<14}  {}\n", plain(&value))).collect()
}

fn count(broker: &mut Asked, filter: Filter) -> Result<Counts, Failure> {
    broker.ask(&Request::CountLetters { filter }, answer!(CountLetters))
}

fn dry_run(broker: &mut Asked, filter: Filter) -> Result<Counts, Failure> {
    let counts = count(broker, filter)?;
    if broker.json {
        write(&json(&counts)?);
        return Ok(counts);
    }
    let mut table = Table::new(["LETTERS", "SIZE", "REASON", "OWNER"]);
    let rows = counts.groups.iter().map(|group| {
        let (letters, bytes) = (group.letters.to_string(), group.bytes.to_string());
        [letters, bytes, group.reason.clone(), group.owner.clone()]
    });
    let text = table.rows(&rows.collect::<Vec<_>>());
    write(&format!("{text}{} letters, {}\n", counts.letters, size(counts.bytes)));
    Ok(counts)
}

fn export(
    broker: &mut Asked,
    filter: Filter,
    file: &std::path::Path,
    is_pipe: bool,
) -> Result<(), Failure> {
    if is_pipe {
        return each_page(broker, filter, true, &mut |letters| Ok(write(&lines(letters)?)));
    }
    let mut out = create(file)?;
    let mut total = 0;
    let written = each_page(broker, filter, true, &mut |letters| {
        total += letters.len();
        out.write_all(lines(letters)?.as_bytes()).map_err(unwritable)?;
        Ok(true)
    });
    if let Err(failure) = written.and_then(|()| out.sync_all().map_err(unwritable)) {
        // A part of an export helps nobody.
        let _ = std::fs::remove_file(file);
        return Err(failure);
    }
    write(&format!("{}: {total} letters\n", file.display()));
    Ok(())
}
