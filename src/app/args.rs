//! The command line.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use super::config_file::{LogFormat, LogLevel};
use super::failure::Failure;
use crate::net::listen::Address;

mod dead;

pub use dead::{
    Dead, DeadCommand, Moment, Name, RunningBroker, Session, SessionCommand, To, Which,
};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "kedgemq", version, about = ABOUT, args_conflicts_with_subcommands = true)]
pub struct CommandLine {
    /// What to do in place of running.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run.
    #[command(flatten)]
    pub run: Run,
}

const ABOUT: &str = "A TLS MQTT broker for edge gateways. Without a subcommand it runs in the \
                     foreground; without a config file it listens on this machine alone.";

/// The flags of a broker; each goes over the config file.
#[derive(Clone, Debug, Default, Args)]
pub struct Run {
    /// Config file; none is read unless named
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen here without TLS (repeatable; replaces all listeners)
    #[arg(long, value_name = "ADDR")]
    pub mqtt: Vec<Address>,
    /// Listen here with TLS (repeatable; replaces all listeners)
    #[arg(long, value_name = "ADDR")]
    pub mqtts: Vec<Address>,
    /// Directory of the data file [default: data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Directory of the made certificates [default: certs]
    #[arg(long, value_name = "DIR")]
    pub certs: Option<PathBuf>,
    /// One more name or IP address of the made server certificate (repeatable)
    #[arg(long, value_name = "NAME")]
    pub cert_name: Vec<String>,
    /// How log lines look
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// The least important lines that are logged
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
}

/// What the command does in place of running a broker.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find what is wrong with a config file and the files it names, without starting
    Check {
        /// Config file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Set the password of a user in a password file, which is made when it is not there
    Passwd {
        /// Password file
        file: PathBuf,
        /// User
        user: String,
        /// Delete the user
        #[arg(short = 'D', long)]
        delete: bool,
    },
    /// Look after the data file: back it up, check, export, import, compact it
    Store(Store),
    /// See and redrive dead letters of the running broker: list, show, redrive, purge, export
    Dead(Dead),
    /// See and steer sessions of the running broker: list, show, queue, purge, kick, delete
    Session(Session),
}

/// `kedgemq store …`
#[derive(Debug, Args)]
pub struct Store {
    /// Data directory [default: data, or what the config file says]
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,
    /// Config file that names the data directory
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What becomes of a store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Copy the store into a new data file, of a running broker too, which goes on meanwhile
    Backup {
        /// The copy; it must not be there yet
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Read every byte of a stopped broker's store, say what it holds or what is broken; exit code
    /// 1 when something is. Nothing is changed
    Check {
        /// A data file, as a backup is [default: the one in the data directory]
        file: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write all that a stopped broker's store holds as JSON lines
    Export {
        /// Where to; it must not be there yet. `-` is stdout
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Make a store of an export, in a data directory that has none
    Import {
        /// The export; `-` is stdin
        file: PathBuf,
    },
    /// Give the unused space in a stopped broker's data file back to the file system
    Compact {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// What becomes of the arguments.
#[derive(Debug)]
pub enum Parsed {
    /// Do this.
    Do(Box<CommandLine>),
    /// Print this: help, or the version.
    Print(String),
}

/// Reads the arguments, the first of which is the command's own name.
pub fn parse(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Parsed, Failure> {
    match CommandLine::try_parse_from(arguments) {
        Ok(line) => Ok(Parsed::Do(Box::new(line))),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Parsed::Print(error.to_string()))
            }
            _ => Err(Failure::given(first_part(&error.to_string()))),
        },
    }
}

/// The error alone: usage and help that follow make it no clearer.
fn first_part(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let until = ["\n\nUsage:", "\n\nFor more"];
    let end = until.iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
    format!("{} (see kedgemq --help)", text[..end].trim())
}
