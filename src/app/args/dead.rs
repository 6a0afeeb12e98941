//! `kedgemq dead …` and `kedgemq session …`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};

use crate::dead_reason::DeadReason;

/// `kedgemq dead …`
#[derive(Debug, Args)]
pub struct Dead {
    /// Which broker.
    #[command(flatten)]
    pub broker: RunningBroker,
    /// What to do.
    #[command(subcommand)]
    pub command: DeadCommand,
}

/// `kedgemq session …`
#[derive(Debug, Args)]
pub struct Session {
    /// Which broker.
    #[command(flatten)]
    pub broker: RunningBroker,
    /// What to do.
    #[command(subcommand)]
    pub command: SessionCommand,
}

/// The broker that is asked, and how its answer is printed.
#[derive(Debug, Args)]
pub struct RunningBroker {
    /// Data directory of the running broker [default: data, or what the config file says]
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// Config file that names the data directory
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
}

/// Which dead letters.
#[derive(Clone, Debug, Default, Args)]
pub struct Which {
    /// Only those that died of this
    #[arg(long, value_parser = PossibleValuesParser::new(DeadReason::ALL.map(DeadReason::as_str)))]
    pub reason: Option<String>,
    /// Only those of this Client Identifier or `$share~group~filter`
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// Only those whose topic this filter matches
    #[arg(long, value_name = "FILTER")]
    pub topic: Option<String>,
    /// Only those that died then or later: `2h` ago, or `2026-11-24T13:55:00Z`
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Only those that died before: `2h` ago, or `2026-11-24T13:55:00Z`
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
    /// At most so many, the oldest first
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

/// What becomes of dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List dead letters, the oldest first
    List {
        /// Which.
        #[command(flatten)]
        which: Which,
    },
    /// Show one with its payload
    Show {
        /// Its number in the list, or its `dl-id`
        id: Name,
    },
    /// Publish them under `$dead/…` again, for subscribers that came later
    Republish {
        /// This one alone: its number, or its `dl-id`
        id: Option<Name>,
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Letters a second [default: as fast as it goes]
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        rate: u32,
    },
    /// Deliver them again; a letter that is queued again is a letter no more
    Redrive {
        /// This one alone: its number, or its `dl-id`
        id: Option<Name>,
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Letters a second [default: as fast as it goes]
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        rate: u32,
        /// Only count them, by reason and owner
        #[arg(long)]
        dry_run: bool,
        /// To the owner alone, or to all who subscribe to the topic now
        #[arg(long, value_enum, default_value_t = To::Owner)]
        to: To,
    },
    /// Forget them; without --yes only count them
    Purge {
        /// This one alone: its number, or its `dl-id`
        id: Option<Name>,
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Really
        #[arg(long)]
        yes: bool,
    },
    /// Write them with their payloads as JSON lines
    Export {
        /// Where to; it must not be there yet. `-` is stdout
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Which.
        #[command(flatten)]
        which: Which,
    },
    /// Show the redrive, purge or republish that goes on, and the last that ended
    Tasks,
    /// End the one that goes on; what it did stays
    Cancel {
        /// Its number
        id: u64,
    },
}

/// What becomes of sessions.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List sessions by Client Identifier
    List,
    /// Show one with its subscriptions, drops and oldest message
    Show {
        /// Client Identifier
        client: String,
    },
    /// Look at the messages that wait, the oldest first; none is consumed
    Queue {
        /// Client Identifier
        client: String,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u64,
        /// With their payloads
        #[arg(long)]
        payload: bool,
    },
    /// Empty the queue: what was never sent becomes dead letters
    Purge {
        /// Client Identifier
        client: String,
    },
    /// End the connection; the session stays
    Kick {
        /// Client Identifier
        client: String,
    },
    /// End the session and its connection: what waits becomes dead letters
    Delete {
        /// Client Identifier
        client: String,
    },
}

/// Where a redrive goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// Queued for the owner again
    Owner,
    /// Published to the topic again
    Topic,
}

/// What a dead letter is called by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// Its number in the list.
    Id(u64),
    /// The `dl-id` that a consumer sees, which has the node's name in front.
    DlId(String),
}

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_number = |text: &str| text.parse::<u64>().is_ok();
        match text.rsplit_once('-') {
            None => text.parse().map(Self::Id).map_err(|_| "write a number, or a dl-id as gw-7"),
            Some((_, number)) if is_number(number) => Ok(Self::DlId(text.to_owned())),
            Some(_) => Err("write a number, or a dl-id as gw-7"),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::DlId(dl_id) => f.write_str(dl_id),
        }
    }
}

/// A time, in milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub u64);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ago = |text| SystemTime::now().checked_sub(humantime::parse_duration(text).ok()?);
        let time = humantime::parse_rfc3339_weak(text).ok().or_else(|| ago(text));
        let time = time.ok_or("write a duration, as 2h, or a time, as 2026-11-24T13:55:00Z")?;
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_called_by_its_number_or_its_dl_id() {
        assert_eq!("7".parse(), Ok(Name::Id(7)));
        assert_eq!("my-gw-7".parse(), Ok(Name::DlId("my-gw-7".to_owned())));
        for wrong in ["", "gw", "gw-", "gw-x"] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        assert_eq!("1970-01-01T00:00:01.5Z".parse(), Ok(Moment(1500)));
        assert_eq!("1970-01-01 00:01:00".parse(), Ok(Moment(60_000)));
        let (Moment(hour), Moment(now)) = ("1h".parse().unwrap(), "0s".parse().unwrap());
        assert!((3_600_000..3_660_000).contains(&(now - hour)), "{hour} {now}");
        assert!("yesterday".parse::<Moment>().unwrap_err().contains("2h"));
    }
}
