//! A running broker, asked by a command.

use std::io::Write;

use serde::Serialize;

use super::args::RunningBroker;
use super::config::{Config, Place};
use super::failure::Failure;
use crate::admin::Client;
use crate::admin::call::{Answer, Request};

use super::args::Run;

/// The connection to it.
pub(super) struct Asked {
    client: Client,
    /// Whether answers are printed as JSON.
    pub(super) json: bool,
}

impl Asked {
    /// Connects to the broker that the flags name.
    pub(super) fn connect(broker: &RunningBroker, place: &Place) -> Result<Self, Failure> {
        let RunningBroker { data, config, json } = broker;
        let flags = Run { config: config.clone(), data: data.clone(), ..Run::default() };
        let config = Config::load(&flags, place)?;
        let client = Client::connect(&config.data).map_err(Failure::machine)?;
        Ok(Self { client, json: *json })
    }

    /// Asks, and takes of the answer what `take` finds in it.
    pub(super) fn ask<T>(
        &mut self,
        request: &Request,
        take: impl FnOnce(Answer) -> Result<T, Answer>,
    ) -> Result<T, Failure> {
        let answer = self.client.call(request, &mut |_| {}).map_err(Failure::machine)?;
        take(answer)
            .map_err(|other| Failure::machine(format_args!("the broker answered {other:?}")))
    }
}

/// Takes this kind of answer.
macro_rules! answer {
    ($kind:ident) => {
        |answer| match answer {
            $crate::admin::call::Answer::$kind(it) => Ok(it),
            other => Err(other),
        }
    };
}
pub(super) use answer;

/// To stdout; says whether somebody still reads it.
pub(super) fn write(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// One line of JSON.
pub(super) fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(value);
    let text = text.map_err(|error| Failure::machine(format_args!("no JSON: {error}")))?;
    Ok(text + "\n")
}

/// A table; numbers stand right, the last column is as wide as it wants. Without `head` it goes
/// on with an earlier one.
pub(super) struct Table<const N: usize> {
    head: [&'static str; N],
    widths: [usize; N],
    is_begun: bool,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(head: [&'static str; N]) -> Self {
        Self { head, widths: head.map(str::len), is_begun: false }
    }

    /// The next rows, under the head if they are the first.
    pub(super) fn rows(&mut self, rows: &[[String; N]]) -> String {
        let rows: Vec<[String; N]> =
            rows.iter().map(|row| row.each_ref().map(|it| plain(it))).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        if !self.is_begun && !rows.is_empty() {
            self.is_begun = true;
            text.push_str(&self.line(&self.head.map(str::to_owned)));
        }
        for row in &rows {
            text.push_str(&self.line(row));
        }
        text
    }

    fn line(&self, row: &[String; N]) -> String {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(self.widths) {
            if cell.bytes().all(|byte| byte.is_ascii_digit()) {
                line.push_str(&format!("{cell:>width$}  "));
            } else {
                line.push_str(&format!("{cell:<width$}  "));
            }
        }
        line.trim_end().to_owned() + "\n"
    }
}

/// Without what would steer a terminal.
pub(super) fn plain(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(escaped).collect()
}

/// Seconds of a time in RFC 3339.
pub(super) fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

/// So long, in whole seconds.
pub(super) fn duration(ms: u64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(ms / 1000)).to_string()
}
