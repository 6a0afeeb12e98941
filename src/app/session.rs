//! `kedgemq session`: the sessions of a running broker.

use super::args::{Session as Line, SessionCommand};
use super::ask::{Asked, Table, answer, duration, json, plain, seconds, write};
use super::config::Place;
use super::failure::Failure;
use super::store::size;
use crate::admin::call::Request;
use crate::admin::call::session::{Copy, Purged, Session};

/// Does what `kedgemq session …` says.
pub(super) fn obey(line: &Line, place: &Place) -> Result<(), Failure> {
    let mut broker = Asked::connect(&line.broker, place)?;
    let broker = &mut broker;
    match &line.command {
        SessionCommand::List => list(broker),
        SessionCommand::Show { client } => show(broker, client.clone()),
        SessionCommand::Queue { client, limit, payload } => queue(broker, client, *limit, *payload),
        SessionCommand::Purge { client } => {
            let request = Request::PurgeSession { client: client.clone() };
            let Purged { purged, dead_letters } = broker.ask(&request, answer!(PurgeSession))?;
            let what = match dead_letters {
                true => "become dead letters",
                false => "are dropped: purged is switched off among the dead letters",
            };
            let text = format!("{}: {purged} messages {what}", plain(client));
            let object = serde_json::json!({
                "client": client, "purged": purged, "dead_letters": dead_letters
            });
            tell(broker, &text, &object)
        }
        SessionCommand::Kick { client } => {
            let request = Request::KickSession { client: client.clone() };
            let client = broker.ask(&request, answer!(KickSession))?;
            let text = format!("{}: the connection is ended", plain(&client));
            tell(broker, &text, &serde_json::json!({ "client": client, "kicked": true }))
        }
        SessionCommand::Delete { client } => {
            let request = Request::DeleteSession { client: client.clone() };
            let client = broker.ask(&request, answer!(DeleteSession))?;
            let text = format!("{}: the session is deleted", plain(&client));
            tell(broker, &text, &serde_json::json!({ "client": client, "deleted": true }))
        }
    }
}

fn tell(broker: &Asked, text: &str, object: &serde_json::Value) -> Result<(), Failure> {
    write(&if broker.json { json(object)? } else { format!("{text}\n") });
    Ok(())
}

fn list(broker: &mut Asked) -> Result<(), Failure> {
    let head = [
        "CLIENT",
        "STATE",
        "SINCE",
        "ADDRESS",
        "MQTT",
        "USER",
        "QUEUED",
        "BYTES",
        "IN FLIGHT",
        "OLDEST",
    ];
    let mut table = Table::new(head);
    let mut after = None;
    loop {
        let page = broker.ask(&Request::Sessions { after }, answer!(Sessions))?;
        let is_read = if broker.json {
            write(&page.sessions.iter().map(json).collect::<Result<String, _>>()?)
        } else {
            write(&table.rows(&page.sessions.iter().map(row).collect::<Vec<_>>()))
        };
        after = page.next;
        if after.is_none() || !is_read {
            return Ok(());
        }
    }
}

fn row(session: &Session) -> [String; 10] {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    [
        session.client.clone(),
        if session.connected { "connected" } else { "away" }.to_owned(),
        seconds(&session.since),
        or_none(&session.address),
        session.version.clone(),
        or_none(&session.user),
        session.queued.to_string(),
        session.queued_bytes.to_string(),
        session.in_flight.to_string(),
        session.oldest_ms.map_or_else(|| "-".to_owned(), duration),
    ]
}

fn show(broker: &mut Asked, client: String) -> Result<(), Failure> {
    let session = broker.ask(&Request::Session { client }, answer!(Session))?;
    write(&if broker.json { json(&session)? } else { text(&session) });
    Ok(())
}

fn text(session: &Session) -> String {
    let expiry = match session.expiry {
        None => "never".to_owned(),
        Some(0) => "with its connection".to_owned(),
        Some(expiry) => format!("{} after its connection", duration(u64::from(expiry) * 1000)),
    };
    let tls = if session.tls == Some(true) { " (TLS)" } else { "" };
    let address = session.address.as_ref().map(|address| format!("{address}{tls}"));
    let state = if session.connected { "connected" } else { "away" };
    let facts = [
        ("client", session.client.clone()),
        ("state", format!("{state} since {}", seconds(&session.since))),
        ("address", address.unwrap_or_default()),
        ("mqtt", session.version.clone()),
        ("user", session.user.clone().unwrap_or_default()),
        ("ends", expiry),
        ("queued", format!("{}, {}", session.queued, size(session.queued_bytes))),
        ("in flight", session.in_flight.to_string()),
        ("unreleased", session.received.to_string()),
        ("oldest", session.oldest_ms.map(duration).unwrap_or_default()),
    ];
    let dropped = session.undelivered.iter().map(|(reason, count)| format!("{count} {reason}"));
    let dropped = dropped.map(|text| ("undelivered", text));
    let subscriptions = session.subscriptions.iter().map(|it| {
        let id = it.id.map(|id| format!(", id {id}")).unwrap_or_default();
        ("subscription", format!("{} at QoS {}{id}", it.filter, it.qos))
    });
    let said = facts.into_iter().filter(|(_, value)| !value.is_empty());
    let all = said.chain(dropped).chain(subscriptions);
    all.map(|(name, value)| format!("{name:<12}  {}\n", plain(&value))).collect()
}

fn queue(broker: &mut Asked, client: &str, limit: u64, payload: bool) -> Result<(), Failure> {
    let head = ["ID", "AGE", "STATE", "QOS", "SIZE", "EXPIRY", "TOPIC", "PAYLOAD"];
    let mut table = Table::new(head);
    let (mut after, mut left) = (0, limit);
    while left > 0 {
        let request = Request::Queue { client: client.to_owned(), after, limit: left, payload };
        let page = broker.ask(&request, answer!(Queue))?;
        left = left.saturating_sub(page.copies.len() as u64);
        let is_read = if broker.json {
            write(&page.copies.iter().map(json).collect::<Result<String, _>>()?)
        } else {
            write(&table.rows(&page.copies.iter().map(copy_row).collect::<Vec<_>>()))
        };
        match page.next {
            Some(next) if is_read => after = next,
            _ => break,
        }
    }
    Ok(())
}

fn copy_row(copy: &Copy) -> [String; 8] {
    let expiry = copy.expiry.map(|expiry| duration(u64::from(expiry) * 1000));
    let base64 = copy.payload_base64.as_ref().map(|text| format!("base64:{text}"));
    [
        copy.id.to_string(),
        duration(copy.age_ms),
        if copy.in_flight { "in flight" } else { "waiting" }.to_owned(),
        copy.qos.to_string(),
        copy.size.to_string(),
        expiry.unwrap_or_else(|| "-".to_owned()),
        copy.topic.clone(),
        copy.payload.clone().or(base64).unwrap_or_else(|| "-".to_owned()),
    ]
}
