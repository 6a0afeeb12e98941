//! Which of one owner's Topic Filters matches a topic: asked for each copy that dies, however many
//! filters the owner has.

use std::sync::Arc;

/// The first of sorted filters that matches `topic`, which is a valid Topic Name. `next` gives the
/// first filter that is not in front of a text. It is asked for what the levels of the topic may
/// be in a filter, one after the other, and only below what some filter begins with.
pub fn first_match<'a>(
    topic: &str,
    next: impl Fn(&str) -> Option<&'a Arc<str>>,
) -> Option<&'a Arc<str>> {
    let mut search = Search { next, prefix: String::new(), first: None };
    search.descend(topic, !topic.starts_with('$'));
    search.first
}

struct Search<'a, N> {
    next: N,
    /// The levels above, with the `/` behind each.
    prefix: String,
    first: Option<&'a Arc<str>>,
}

impl<'a, N: Fn(&str) -> Option<&'a Arc<str>>> Search<'a, N> {
    /// Takes the levels that are left of the topic. `wild`: the first of them may be a wildcard,
    /// which a `$` in front of the whole topic forbids `[MQTT-4.7.2-1]`.
    fn descend(&mut self, levels: &str, wild: bool) {
        let above = self.prefix.len();
        if wild {
            self.ask_for("#");
        }
        let (level, rest) = match levels.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (levels, None),
        };
        for wanted in [level, "+"].into_iter().take(1 + usize::from(wild)) {
            self.prefix.push_str(wanted);
            match rest {
                None => {
                    self.ask_for("");
                    self.ask_for("/#");
                }
                Some(rest) => {
                    self.prefix.push('/');
                    let found = (self.next)(&self.prefix);
                    if found.is_some_and(|filter| filter.starts_with(&self.prefix)) {
                        self.descend(rest, true);
                    }
                }
            }
            self.prefix.truncate(above);
        }
    }

    /// Takes the filter that ends with `end` here, if there is one in front of what was found.
    fn ask_for(&mut self, end: &str) {
        let above = self.prefix.len();
        self.prefix.push_str(end);
        let found = (self.next)(&self.prefix).filter(|filter| ***filter == *self.prefix);
        self.prefix.truncate(above);
        if let Some(found) = found
            && self.first.is_none_or(|first| found < first)
        {
            self.first = Some(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::topic;
    use std::cell::Cell;

    fn sorted(mut filters: Vec<String>) -> Vec<Arc<str>> {
        filters.sort();
        filters.into_iter().map(Into::into).collect()
    }

    fn next<'a>(filters: &'a [Arc<str>], text: &str) -> Option<&'a Arc<str>> {
        filters.get(filters.partition_point(|filter| **filter < *text))
    }

    /// Against looking at each, with parts of all filters of up to three levels.
    #[test]
    fn finds_what_looking_at_each_finds() {
        let levels = ["", "!", "$", "+", "a", "a!", "b"];
        let mut topics: Vec<String> = levels.iter().map(ToString::to_string).collect();
        for _ in 1..3 {
            let longer = |topic: &String| levels.map(|level| format!("{topic}/{level}"));
            topics.extend(topics.iter().flat_map(longer).collect::<Vec<_>>());
        }
        topics.sort();
        topics.dedup();
        let mut filters = topics.clone();
        filters.extend(topics.iter().map(|topic| format!("{topic}/#")));
        filters.push("#".into());
        filters.retain(|filter| topic::check_filter(filter, 9).is_ok());
        topics.retain(|topic| topic::check_name(topic, 9).is_ok());
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..200 {
            let some = filters.iter().filter(|_| random.usize(..200) <= round).cloned();
            let some = sorted(some.collect());
            for topic in &topics {
                let wanted = some.iter().find(|filter| topic::matches(topic, filter));
                let found = first_match(topic, |text| next(&some, text));
                assert_eq!(found, wanted, "{topic} of {some:?}");
            }
        }
    }

    #[test]
    fn looks_at_few_of_many() {
        let filters = (0..10_000).flat_map(|n| [format!("a/{n}/+/c"), format!("b/{n}")]);
        let filters = sorted(filters.collect());
        let asked = Cell::new(0);
        let found = first_match("a/7777/x/c", |text| {
            asked.set(asked.get() + 1);
            next(&filters, text)
        });
        assert_eq!(found.map(|filter| &**filter), Some("a/7777/+/c"));
        assert!(asked.get() < 20, "{} times", asked.get());
    }
}
