//! The judges: each reads the event log alone, and knows nothing of how the broker works.

mod accounting;
mod acknowledgement;
mod bounds;
mod clock;
mod conduct;
mod delivery;
mod identifier;
mod letters;
mod once;
mod order;
mod phantom;
mod places;
mod presence;
mod reading;
mod retained;
mod rights;
mod window;

use crate::history::History;

/// A promise that was broken.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) checker: &'static str,
    pub(crate) what: String,
    /// The message that it is about, to find it in the trace.
    pub(crate) tag: Option<String>,
}

type Check = fn(&History) -> Result<(), Broken>;

/// What a checker found.
#[derive(Debug)]
pub(crate) struct Broken {
    what: String,
    tag: Option<String>,
}

impl Broken {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), tag: None }
    }

    fn of(tag: &str, what: impl Into<String>) -> Self {
        Self { what: what.into(), tag: Some(tag.to_owned()) }
    }
}

/// A queue with more room than there are messages.
const UNLIMITED: usize = 10_000;

const CHECKERS: [(&str, Check); 16] = [
    ("phantom", phantom::check),
    ("acknowledgement", acknowledgement::check),
    ("conduct", conduct::check),
    ("identifier", identifier::check),
    ("once", once::check),
    ("order", order::check),
    ("window", window::check),
    ("presence", presence::check),
    ("retained", retained::check),
    ("delivery", delivery::check),
    ("letters", letters::check),
    ("bounds", bounds::check),
    ("accounting", accounting::check),
    ("places", places::check),
    ("clock", clock::check),
    ("rights", rights::check),
];

/// All that is wrong, the first of each checker.
pub(crate) fn check(history: &History) -> Vec<Violation> {
    let judge = |(checker, check): &(&'static str, Check)| {
        let Broken { what, tag } = check(history).err()?;
        Some(Violation { checker, what, tag })
    };
    CHECKERS.iter().filter_map(judge).collect()
}
