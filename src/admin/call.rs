//! What can be asked of a running broker, and what it answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub mod letter;
pub mod metrics;
pub mod session;

/// The version of the protocol: raised when an old client would misunderstand.
pub const VERSION: u32 = 1;

/// The longest request, in bytes.
pub const MAX_REQUEST: usize = 64 * 1024;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Who answers.
    About {},
    /// Copies the store, as it is on disk now, into a new file.
    Backup {
        /// Absolute: the broker has another working directory. It must not be there.
        file: PathBuf,
    },
    /// All counters and gauges.
    Metrics {},
    /// A page of the dead letters.
    Letters {
        /// Which; the limit is that of the page.
        filter: letter::Filter,
        /// From behind this number on.
        after: u64,
        /// Whether the payloads are wanted.
        payload: bool,
    },
    /// How many dead letters there are.
    CountLetters {
        /// Which.
        filter: letter::Filter,
    },
    /// Starts a task over dead letters.
    StartTask {
        /// What is done.
        action: letter::Action,
        /// With which.
        filter: letter::Filter,
        /// Letters a second; 0 is as fast as it goes.
        rate: u32,
    },
    /// The task that goes on, and the last that ended.
    Tasks {},
    /// Cancels a task.
    CancelTask {
        /// Which.
        id: u64,
    },
    /// A page of the sessions.
    Sessions {
        /// From behind this Client Identifier on.
        after: Option<String>,
    },
    /// One session.
    Session {
        /// Client Identifier.
        client: String,
    },
    /// A page of the copies in the queue of a session.
    Queue {
        /// Client Identifier.
        client: String,
        /// From behind this message on.
        after: u64,
        /// At most so many.
        limit: u64,
        /// Whether the payloads are wanted.
        payload: bool,
    },
    /// Empties the queue of a session.
    PurgeSession {
        /// Client Identifier.
        client: String,
    },
    /// Ends the connection of a client.
    KickSession {
        /// Client Identifier.
        client: String,
    },
    /// Ends a session.
    DeleteSession {
        /// Client Identifier.
        client: String,
    },
}

/// A request as it is sent.
#[derive(Debug, Serialize)]
pub(super) struct Asked<'a> {
    pub(super) version: u32,
    #[serde(flatten)]
    pub(super) request: &'a Request,
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// More follows.
    Progress(Progress),
    /// It is done.
    Ok(Answer),
    /// It is not, and why.
    Error(String),
}

/// How far something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Of what it counts, so many are done.
    pub done: u64,
    /// And so many there are.
    pub of: u64,
    /// Bytes that were moved.
    pub bytes: u64,
}

/// What comes of a request, under the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Who answers.
    About(About),
    /// There is a copy.
    Backup(Backup),
    /// They are so now.
    Metrics(Box<metrics::Metrics>),
    /// A page.
    Letters(letter::Letters),
    /// They were counted.
    CountLetters(letter::Counts),
    /// It was started, under this number.
    StartTask(u64),
    /// The tasks, the one that goes on first.
    Tasks(Vec<letter::Task>),
    /// It was cancelled.
    CancelTask(u64),
    /// A page.
    Sessions(session::Sessions),
    /// The session.
    Session(Box<session::Session>),
    /// A page.
    Queue(session::Queue),
    /// So many copies leave the queue.
    PurgeSession(session::Purged),
    /// It has no connection any more.
    KickSession(String),
    /// It is gone.
    DeleteSession(String),
}

/// A running broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its version.
    pub kedgemq: String,
    /// Its process id.
    pub pid: u32,
}

/// A copy of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Where it is.
    pub file: PathBuf,
    /// Rows of the store.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The size of the file, in bytes.
    pub file_bytes: u64,
}

/// Reads a request; the error is one line.
pub(super) fn read(line: &[u8]) -> Result<Request, String> {
    let mut value: serde_json::Value =
        serde_json::from_slice(line).map_err(|error| format!("this is no JSON: {error}"))?;
    let object = value.as_object_mut().ok_or("a request is a JSON object")?;
    match object.remove("version").as_ref().and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => {
            return Err(format!(
                "protocol {version} is not spoken here, but {VERSION}: use the kedgemq that runs"
            ));
        }
        None => return Err(format!("\"version\": {VERSION} is missing")),
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_strictly() {
        let table = [
            (r#"{"version":1,"command":"about"}"#, "Ok(About)"),
            (r#"{"version":1,"command":"about","x":1}"#, "unknown field"),
            (r#"{"version":1,"command":"dance"}"#, "unknown variant"),
            (r#"{"version":1}"#, "command"),
            (r#"{"version":2,"command":"about"}"#, "protocol 2"),
            (r#"{"command":"about"}"#, "version"),
            ("[]", "object"),
            ("about", "no JSON"),
            (r#"{"version":1,"command":"backup"}"#, "file"),
        ];
        for (line, expected) in table {
            let found = format!("{:?}", read(line.as_bytes()));
            let found = found.replace("About {}", "Ok(About)").replace("Ok(Ok(", "Ok(");
            assert!(found.contains(expected), "{line}: {found}");
        }
        let request = Request::Backup { file: "/a".into() };
        let sent = serde_json::to_string(&Asked { version: VERSION, request: &request }).unwrap();
        assert_eq!(sent, r#"{"version":1,"command":"backup","file":"/a"}"#);
        assert_eq!(read(sent.as_bytes()), Ok(request));
    }
}
