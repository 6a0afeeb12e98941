//! The broker of a fleet: one of our own, as a process with a directory that goes with it, or one
//! that runs already.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
use std::thread;

use tempfile::TempDir;

/// Our first argument, when we are to be the broker.
pub(crate) const BROKER: &str = "broker";

/// Messages that wait for one client; one more, and the oldest dies.
pub(crate) const QUEUE: u32 = 1000;

/// Small limits, so that each way to die is seen in a minute.
const CONFIGURATION: &str = "
node = \"fleet\"
[limits]
queue_messages = 1000
max_deliveries = 3
[[listener]]
address = \"127.0.0.1:0\"
[[listener]]
address = \"127.0.0.1:0\"
tls = true
";

/// Where the broker is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) plain: SocketAddr,
    /// With TLS, and the CA that signed its certificate.
    pub(crate) tls: Option<(SocketAddr, Vec<u8>)>,
    /// Its data directory, for its tools' socket.
    pub(crate) data: PathBuf,
}

/// A broker of our own; it ends, and its files go, when this is dropped.
pub(crate) struct Server {
    child: Child,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the broker: what `kedgemq` does with these arguments.
pub(crate) fn be_broker(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    kedgemq::app::main(arguments)
}

/// Starts this program again, as a broker on free ports and in a directory of its own.
pub(crate) fn start() -> Result<(Server, Place), String> {
    let directory = tempfile::Builder::new().prefix("kedgemq-fleet-").tempdir();
    let directory = directory.map_err(|error| format!("no temporary directory: {error}"))?;
    let at = |name: &str| directory.path().join(name);
    let (file, data, certs) = (at("kedgemq.toml"), at("data"), at("certs"));
    fs::write(&file, CONFIGURATION).map_err(|error| format!("{}: {error}", file.display()))?;
    let program = std::env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let mut command = Command::new(program);
    command.arg(BROKER).arg("-c").arg(&file).arg("--data").arg(&data).arg("--certs").arg(&certs);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("the broker: {error}"))?;
    let log = child.stderr.take().ok_or("stderr is piped")?;
    let server = Server { child, _directory: directory };
    let (plain, tls) = listeners(log)?;
    let ca = certs.join("ca.crt");
    let ca = fs::read(&ca).map_err(|error| format!("{}: {error}", ca.display()))?;
    Ok((server, Place { plain, tls: Some((tls, ca)), data }))
}

/// Of the log's first lines; then it is read on, as a full pipe would stop the broker.
fn listeners(log: ChildStderr) -> Result<(SocketAddr, SocketAddr), String> {
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    let (mut plain, mut tls, mut said) = (None, None, String::new());
    for line in lines.by_ref() {
        if let Some((address, is_tls)) = listener(&line) {
            *(if is_tls { &mut tls } else { &mut plain }) = Some(address);
        }
        if line.contains(" started ") {
            break;
        }
        said.push_str(&line);
        said.push('\n');
    }
    thread::spawn(move || lines.for_each(drop));
    plain.zip(tls).ok_or_else(|| format!("the broker does not start:\n{said}"))
}

fn listener(line: &str) -> Option<(SocketAddr, bool)> {
    let (_, rest) = line.split_once("listening address=")?;
    let address = rest.split(' ').next()?.parse().ok()?;
    Some((address, rest.contains("tls=true")))
}
