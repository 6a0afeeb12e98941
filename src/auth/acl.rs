//! ACL files in mosquitto's format: who may publish and receive which topics.
//!
//! Promise: what no line grants is denied, and a `deny` line beats every grant, wherever either
//! stands. Invariant: a name that a client chooses never widens a line.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::LineProblem;
use crate::mqtt::topic;

/// The rights of an ACL file.
#[derive(Clone, Debug, Default)]
pub struct Acl {
    anonymous: Vec<Line>,
    users: BTreeMap<Box<str>, Vec<Line>>,
    patterns: Vec<Line>,
    guarded: Option<Box<str>>,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
#[doc(hidden)]
pub struct Who<'a> {
    /// User Name; `None` for an anonymous client.
    pub user: Option<&'a str>,
    /// Client Identifier.
    pub client_id: &'a str,
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Access {
    /// To publish, a Will too.
    Publish,
    /// To be sent a message.
    Receive,
}

impl Acl {
    /// Reads a whole file: the first bad line is an error, since a line that is left out may be a
    /// `deny`.
    pub fn parse(text: &str) -> Result<Self, LineProblem> {
        let mut acl = Self::default();
        let mut user: Option<Box<str>> = None;
        for (index, line) in text.lines().enumerate() {
            let parsed =
                parse_line(line).map_err(|problem| LineProblem { line: index + 1, problem })?;
            match (parsed, &user) {
                (Parsed::Nothing, _) => {}
                (Parsed::User(name), _) => user = Some(name.into()),
                (Parsed::Pattern(line), _) => acl.patterns.push(line),
                (Parsed::Topic(line), None) => acl.anonymous.push(line),
                (Parsed::Topic(line), Some(user)) => {
                    acl.users.entry(user.clone()).or_default().push(line);
                }
            }
        }
        Ok(acl)
    }

    /// Topics that begin with `prefix`, a level or more with a slash behind, are from now on
    /// granted by lines alone that spell out the first level, as those under `$` always are.
    #[must_use]
    pub fn guarding(self, prefix: &str) -> Self {
        Self { guarded: Some(prefix.into()), ..self }
    }

    /// Whether a client may publish to `topic`, or be sent what is published there.
    #[doc(hidden)]
    pub fn allows(&self, who: Who<'_>, access: Access, topic: &str) -> bool {
        let mut granted = false;
        let guarded = self.guarded.as_ref().is_some_and(|prefix| topic.starts_with(&**prefix));
        let decides = |line: &Line| line.decides(access) && (!guarded || line.may_decide_guarded());
        for line in self.topics_of(who) {
            if decides(line) && topic::matches(topic, &line.filter) {
                if line.right == Right::Deny {
                    return false;
                }
                granted = true;
            }
        }
        for line in &self.patterns {
            // A grant more changes nothing, and what a pattern costs is putting the names in.
            let needed = !granted || line.right == Right::Deny;
            if needed && decides(line) && line.matches_for(who, topic) {
                if line.right == Right::Deny {
                    return false;
                }
                granted = true;
            }
        }
        granted
    }

    /// Whether a client may be sent everything that matches `filter`. A filter that only several
    /// lines together cover is not covered, nor one that a `deny` line cuts into.
    #[doc(hidden)]
    pub fn covers(&self, who: Who<'_>, filter: &str) -> bool {
        let guarded = self.guarded.as_ref();
        let guarded = guarded.is_some_and(|prefix| is_within(filter, &format!("{prefix}#")));
        let counts = |line: &&Line| !guarded || line.may_decide_guarded();
        let topics = self.topics_of(who).iter().filter(counts);
        let topics = topics.map(|line| (line.right, Cow::Borrowed(&*line.filter)));
        let patterns = self.patterns.iter().filter(counts);
        let patterns = patterns.filter_map(|line| Some((line.right, line.filter_for(who)?)));
        let mut granted = false;
        for (right, line) in topics.chain(patterns) {
            match right {
                Right::Deny if overlap(filter, &line) => return false,
                Right::Read | Right::ReadWrite => granted |= is_within(filter, &line),
                Right::Deny | Right::Write => {}
            }
        }
        granted
    }

    fn topics_of(&self, who: Who<'_>) -> &[Line] {
        match who.user {
            None => &self.anonymous,
            Some(user) => self.users.get(user).map_or(&[], |lines| lines),
        }
    }
}

/// A `topic` or `pattern` line.
#[derive(Clone, Debug)]
struct Line {
    right: Right,
    /// With `%u` and `%c` in it, if it is a pattern.
    filter: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Read,
    Write,
    ReadWrite,
    Deny,
}

impl Line {
    /// Whether it says anything about `access`.
    fn decides(&self, access: Access) -> bool {
        match self.right {
            Right::Read => access == Access::Receive,
            Right::Write => access == Access::Publish,
            Right::ReadWrite | Right::Deny => true,
        }
    }

    /// Whether it denies, or spells out its first level.
    fn may_decide_guarded(&self) -> bool {
        let first = self.filter.split('/').next().unwrap_or_default();
        self.right == Right::Deny || !first.contains(['+', '#', '%'])
    }

    fn matches_for(&self, who: Who<'_>, topic: &str) -> bool {
        self.filter_for(who).is_some_and(|filter| topic::matches(topic, &filter))
    }

    /// The pattern's filter for a client. A grant for a name that can't stand in a level is none;
    /// a denial for such a name takes everything from that level on. A pattern with `%u` does not
    /// concern anonymous clients.
    fn filter_for(&self, who: Who<'_>) -> Option<Cow<'_, str>> {
        if !self.filter.contains("%u") && !self.filter.contains("%c") {
            return Some(Cow::Borrowed(&self.filter));
        }
        if self.filter.contains("%u") && who.user.is_none() {
            return None;
        }
        let mut filled = String::with_capacity(self.filter.len() + 32);
        for (index, level) in self.filter.split('/').enumerate() {
            if index > 0 {
                filled.push('/');
            }
            let start = filled.len();
            let fits = fill(level, who, &mut filled);
            match self.right {
                Right::Deny if fits => {}
                Right::Deny => {
                    filled.truncate(start);
                    filled.push('#');
                    break;
                }
                _ if !fits || (index == 0 && became_hidden(level, &filled)) => return None,
                _ => {}
            }
        }
        Some(Cow::Owned(filled))
    }
}

/// Puts the names into one level; false when one of them has a character that would make it more
/// than one level, or a wildcard.
fn fill(level: &str, who: Who<'_>, filled: &mut String) -> bool {
    let mut rest = level;
    while let Some(at) = rest.find('%') {
        filled.push_str(&rest[..at]);
        let name = match rest.as_bytes().get(at + 1) {
            Some(b'u') => who.user.unwrap_or_default(),
            Some(b'c') => who.client_id,
            _ => {
                filled.push('%');
                rest = &rest[at + 1..];
                continue;
            }
        };
        if name.contains(['+', '#', '/']) {
            return false;
        }
        filled.push_str(name);
        rest = &rest[at + 2..];
    }
    filled.push_str(rest);
    true
}

/// Whether a client's own name made the first level one of the `$` topics, which only a line that
/// spells them out grants.
fn became_hidden(level: &str, filled: &str) -> bool {
    filled.starts_with('$') && filled != level
}

enum Parsed<'a> {
    Nothing,
    User(&'a str),
    Topic(Line),
    Pattern(Line),
}

fn parse_line(line: &str) -> Result<Parsed<'_>, String> {
    if line.starts_with('#') {
        return Ok(Parsed::Nothing);
    }
    let (word, rest) = first_word(line.trim());
    match word {
        "" => Ok(Parsed::Nothing),
        "user" if rest.is_empty() => Err("no name behind `user`".into()),
        "user" => Ok(Parsed::User(rest)),
        "topic" => Ok(Parsed::Topic(parse_right(word, rest)?)),
        "pattern" => Ok(Parsed::Pattern(parse_right(word, rest)?)),
        _ => Err(format!(
            "\"{word}\" is none of `user`, `topic`, `pattern`; a comment starts with `#`"
        )),
    }
}

fn parse_right(kind: &str, text: &str) -> Result<Line, String> {
    let (right, filter) = match first_word(text) {
        ("", _) => return Err(format!("no topic filter behind `{kind}`")),
        (filter, "") => (Right::ReadWrite, filter),
        ("read", filter) => (Right::Read, filter),
        ("write", filter) => (Right::Write, filter),
        ("readwrite", filter) => (Right::ReadWrite, filter),
        ("deny", filter) => (Right::Deny, filter),
        (word, _) => {
            return Err(format!(
                "\"{word}\" is none of `read`, `write`, `readwrite`, `deny`; \
                 a filter with a space needs one of them in front: `{kind} readwrite {text}`"
            ));
        }
    };
    if !is_valid(filter) {
        return Err(format!(
            "\"{filter}\" is no topic filter: `+` stands alone in its level, \
             `#` alone in the last one"
        ));
    }
    Ok(Line { right, filter: filter.into() })
}

/// The first word, and what follows, without the spaces between.
fn first_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim_start())
}

/// Whether the wildcards stand where they may `[MQTT-4.7.1-1]`, `[MQTT-4.7.1-2]`.
fn is_valid(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        let alone = level == "+" || (level == "#" && last);
        if level.contains(['+', '#']) && !alone {
            return false;
        }
    }
    !filter.contains('\0')
}

/// Whether every topic that matches `filter` matches `wider`, too.
fn is_within(filter: &str, wider: &str) -> bool {
    if hidden_from(filter, wider) {
        return false;
    }
    // Any first level and whatever follows: all there is, as `#` says shorter.
    let wider = if wider == "+/#" { "#" } else { wider };
    let mut levels = filter.split('/');
    for level in wider.split('/') {
        match (level, levels.next()) {
            ("#", _) => return true,
            ("+", Some(name)) if name != "#" => {}
            (name, Some(other)) if name == other => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether some topic matches both filters.
fn overlap(a: &str, b: &str) -> bool {
    if hidden_from(a, b) || hidden_from(b, a) {
        return false;
    }
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(x), Some(y)) if x == y || x == "+" || y == "+" => {}
            _ => return false,
        }
    }
}

/// Whether `filter` is about `$` topics, which a wildcard at the start of `wildcard` leaves out.
fn hidden_from(filter: &str, wildcard: &str) -> bool {
    filter.starts_with('$') && wildcard.starts_with(['+', '#'])
}

#[cfg(test)]
mod tests;
