//! Numbers, sizes and times as a configuration file writes them, each within its bounds.
//!
//! A value out of bounds never leaves this module, and its error says what to write.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<const MIN: u64, const MAX: u64>(pub u64);

/// A number of bytes from `MIN` to `MAX`: `"2MiB"`, or a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size<const MIN: u64, const MAX: u64>(pub u64);

/// A number of bytes, or `"none"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap(pub Option<u64>);

/// Whole seconds up to `MAX`, written with a unit; `"none"` is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds<const MAX: u32>(pub Option<u32>);

/// A time of any fineness, written with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(pub Duration);

/// Reads one of the types above: `Self` says what to write, `text` and `number` read it.
trait Written: Sized {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result;
    fn text(text: &str) -> Option<Self>;
    fn number(number: u64) -> Option<Self>;
}

struct Reader<T>(PhantomData<T>);

impl<T: Written> Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::expecting(f)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::text(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        u64::try_from(number)
            .ok()
            .and_then(T::number)
            .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::number(number).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }
}

fn within(number: u64, min: u64, max: u64) -> Option<u64> {
    (min..=max).contains(&number).then_some(number)
}

impl<const MIN: u64, const MAX: u64> Written for Count<MIN, MAX> {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match MAX {
            ANY => write!(f, "a whole number, {MIN} or more"),
            _ => write!(f, "a whole number from {MIN} to {MAX}"),
        }
    }

    fn text(_: &str) -> Option<Self> {
        None
    }

    fn number(number: u64) -> Option<Self> {
        within(number, MIN, MAX).map(Self)
    }
}

impl<const MIN: u64, const MAX: u64> Written for Size<MIN, MAX> {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let min = ByteSize(MIN);
        match MAX {
            ANY => write!(f, "a size such as \"2MiB\", {min} or more"),
            _ => write!(f, "a size such as \"2MiB\", from {min} to {}", ByteSize(MAX)),
        }
    }

    fn text(text: &str) -> Option<Self> {
        text.parse::<ByteSize>().ok().and_then(|size| Self::number(size.as_u64()))
    }

    fn number(number: u64) -> Option<Self> {
        within(number, MIN, MAX).map(Self)
    }
}

impl Written for Cap {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"none\" or a size such as \"2MiB\", 1 B or more")
    }

    fn text(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self(None));
        }
        text.parse::<ByteSize>().ok().and_then(|size| Self::number(size.as_u64()))
    }

    fn number(number: u64) -> Option<Self> {
        within(number, 1, ANY).map(|number| Self(Some(number)))
    }
}

impl<const MAX: u32> Written for Seconds<MAX> {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"none\" or whole seconds with a unit such as \"30s\" or \"1h\", up to {MAX}s")
    }

    fn text(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self(None));
        }
        let duration = humantime::parse_duration(text).ok()?;
        let seconds = u32::try_from(duration.as_secs()).ok()?;
        let whole = duration.subsec_nanos() == 0 && seconds <= MAX;
        whole.then_some(Self(Some(seconds)))
    }

    fn number(_: u64) -> Option<Self> {
        None
    }
}

impl Written for Period {
    fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time with a unit such as \"30s\", \"500ms\" or \"7days\"")
    }

    fn text(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok().map(Self)
    }

    fn number(_: u64) -> Option<Self> {
        None
    }
}

/// No upper bound but what the file format can write.
pub const ANY: u64 = i64::MAX as u64;

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Size<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Cap {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl<'de, const MAX: u32> Deserialize<'de> for Seconds<MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData))
    }
}

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// The number as the core counts; larger than the machine's word is no limit.
    pub fn get(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Size<MIN, MAX> {
    /// Bytes, as for [`Count::get`].
    pub fn get(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}
