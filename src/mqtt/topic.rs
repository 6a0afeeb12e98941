//! Topic Names and Topic Filters: which are valid, and which filter matches which name.
//!
//! Both are compared byte by byte, nothing is normalised `[MQTT-4.7.3-4]`, nothing is allocated.

use std::fmt;

#[cfg(test)]
mod tests;

/// Why a Topic Name or Topic Filter is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidTopic {
    /// At least one character long.
    Empty,
    /// Wildcards are for filters only `[MQTT-4.7.0-1]`.
    WildcardInName,
    /// More levels than our limit allows.
    TooManyLevels,
    /// `#` that is not alone in its level, or not in the last one `[MQTT-4.7.1-1]`.
    MultiLevelWildcard,
    /// `+` that is not alone in its level `[MQTT-4.7.1-2]`.
    SingleLevelWildcard,
    /// `$share/` without a ShareName `[MQTT-4.8.2-1]`.
    EmptyShareName,
    /// A ShareName with a wildcard in it `[MQTT-4.8.2-2]`.
    WildcardInShareName,
    /// `$share/` and a ShareName, but no Topic Filter after it.
    ShareWithoutFilter,
}

impl fmt::Display for InvalidTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::WildcardInName => "a topic name must not contain + or #",
            Self::TooManyLevels => "it has too many levels",
            Self::MultiLevelWildcard => "# must be alone in the last level",
            Self::SingleLevelWildcard => "+ must be alone in its level",
            Self::EmptyShareName => "the share name is empty",
            Self::WildcardInShareName => "a share name must not contain + or #",
            Self::ShareWithoutFilter => "no topic filter follows the share name",
        })
    }
}

impl std::error::Error for InvalidTopic {}

/// Whether `topic` is a Topic Name of at most `levels_max` levels.
pub fn check_name(topic: &str, levels_max: usize) -> Result<(), InvalidTopic> {
    if topic.is_empty() {
        return Err(InvalidTopic::Empty);
    }
    if has_wildcard(topic) {
        return Err(InvalidTopic::WildcardInName);
    }
    check_levels(topic, levels_max)
}

/// A Topic Filter, and the ShareName in front of it if it is a Shared Subscription's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterParts<'a> {
    /// ShareName.
    pub share: Option<&'a str>,
    /// What [`matches()`] takes.
    pub filter: &'a str,
}

/// Checks and splits what a SUBSCRIBE or UNSUBSCRIBE names. `levels_max` counts the levels of the
/// filter itself, without `$share` and the ShareName.
pub fn parse_filter(filter: &str, levels_max: usize) -> Result<FilterParts<'_>, InvalidTopic> {
    let Some(shared) = filter.strip_prefix("$share/") else {
        check_filter(filter, levels_max)?;
        return Ok(FilterParts { share: None, filter });
    };
    let (name, filter) = shared.split_once('/').unwrap_or((shared, ""));
    if name.is_empty() {
        return Err(InvalidTopic::EmptyShareName);
    }
    if has_wildcard(name) {
        return Err(InvalidTopic::WildcardInShareName);
    }
    if filter.is_empty() {
        return Err(InvalidTopic::ShareWithoutFilter);
    }
    check_filter(filter, levels_max)?;
    Ok(FilterParts { share: Some(name), filter })
}

/// Whether a valid `filter`, without a share in front, matches a valid `topic`.
///
/// A wildcard in the first level does not match a topic that begins with `$` `[MQTT-4.7.2-1]`;
/// `#` stands for its parent level too.
pub fn matches(topic: &str, filter: &str) -> bool {
    let (topic, filter) = (topic.as_bytes(), filter.as_bytes());
    if topic.first() == Some(&b'$') && matches!(filter.first(), Some(b'+' | b'#')) {
        return false;
    }
    let mut levels = topic.split(|&byte| byte == b'/');
    for wanted in filter.split(|&byte| byte == b'/') {
        match (wanted, levels.next()) {
            (b"#", _) => return true,
            (b"+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether `filter` is a Topic Filter of at most `levels_max` levels, whatever it begins with.
pub fn check_filter(filter: &str, levels_max: usize) -> Result<(), InvalidTopic> {
    if filter.is_empty() {
        return Err(InvalidTopic::Empty);
    }
    check_levels(filter, levels_max)?;
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level != "#" || levels.peek().is_some()) {
            return Err(InvalidTopic::MultiLevelWildcard);
        }
        if level.contains('+') && level != "+" {
            return Err(InvalidTopic::SingleLevelWildcard);
        }
    }
    Ok(())
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['+', '#'])
}

/// Whether a Topic Name or Topic Filter has at most `levels_max` levels.
pub fn check_levels(topic: &str, levels_max: usize) -> Result<(), InvalidTopic> {
    if topic.len() < levels_max {
        return Ok(()); // Each level but one has its separator.
    }
    let separators = topic.bytes().filter(|&byte| byte == b'/').count();
    if separators >= levels_max {
        return Err(InvalidTopic::TooManyLevels);
    }
    Ok(())
}
