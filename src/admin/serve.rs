//! The broker's side of the socket.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tracing::{info, warn};

use super::call::{self, About, Answer, Backup, Line, MAX_REQUEST, Progress, Request};
use super::socket::{NAME, Socket};
use super::{letters, metrics, sessions};
use crate::server::Handle;
use crate::store::{BackupError, Copied};

/// Clients at once; one more is told so.
const CLIENTS: usize = 32;
/// Between two words about the progress.
const PAUSE: Duration = Duration::from_millis(200);
/// After an error of `accept`, which is mostly the lack of a file descriptor.
const AGAIN: Duration = Duration::from_millis(500);

/// Binds the socket in `data` and serves it until `stop` is true. The broker runs without it too:
/// what prevents it is logged. To be called only by who has the data file open.
pub fn start(data: &Path, server: Handle, stop: watch::Receiver<bool>) -> JoinHandle<()> {
    let bound = Socket::bind(data).and_then(|socket| {
        let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
        Ok((socket, listener))
    });
    let path = data.join(NAME);
    tokio::spawn(async move {
        match bound {
            Ok((socket, listener)) => {
                serve(listener, server, stop).await;
                drop(socket);
            }
            Err(error) => warn!(
                target: "kedgemq",
                socket = %path.display(), %error, "no tool can talk to this broker: no socket"
            ),
        }
    })
}

async fn serve(listener: UnixListener, server: Handle, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    let mut clients = JoinSet::new();
    let mut stop = std::pin::pin!(stop.wait_for(|stop| *stop));
    loop {
        let accepted = tokio::select! {
            _ = &mut stop => return,
            Some(_) = clients.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match Arc::clone(&places).try_acquire_owned() {
                Ok(place) => {
                    let server = server.clone();
                    clients.spawn(async move {
                        talk(stream, server).await;
                        drop(place);
                    });
                }
                Err(_) => {
                    clients.spawn(turn_away(stream));
                }
            },
            Err(error) => {
                warn!(target: "kedgemq", %error, "a tool could not connect");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn turn_away(stream: UnixStream) {
    let (_, write) = stream.into_split();
    let mut client = Lines(write);
    client.write(&Line::Error(format!("{CLIENTS} tools are connected: try again"))).await;
}

/// Answers one client until it goes.
async fn talk(stream: UnixStream, server: Handle) {
    let (read, write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut client = Lines(write);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = MAX_REQUEST as u64 + 1;
        let got = (&mut read).take(limit).read_until(b'\n', &mut line).await;
        if !got.is_ok_and(|got| got > 0) {
            return;
        }
        if line.len() > MAX_REQUEST {
            let why = format!("a request has at most {MAX_REQUEST} bytes");
            client.write(&Line::Error(why)).await;
            return;
        }
        let answer = match call::read(&line) {
            Ok(request) => answer(request, &server, &mut client).await,
            Err(why) => Err(why),
        };
        let last = answer.map_or_else(Line::Error, Line::Ok);
        if !client.write(&last).await {
            return;
        }
    }
}

async fn answer(request: Request, server: &Handle, client: &mut Lines) -> Result<Answer, String> {
    match request {
        Request::About {} => Ok(Answer::About(about())),
        // All else looks at the disk, or waits for it.
        request => {
            let server = server.clone();
            at_length(client, move |report| work(request, &server, report)).await
        }
    }
}

fn work(request: Request, server: &Handle, report: Report<'_>) -> Result<Answer, String> {
    match request {
        Request::About {} => Ok(Answer::About(about())),
        Request::Backup { file } => backup(server, file, report),
        Request::Metrics {} => Ok(metrics::all(server)),
        Request::Letters { filter, after, payload } => {
            letters::page(server, filter, after, payload, report)
        }
        Request::CountLetters { filter } => letters::count(server, filter, report),
        Request::StartTask { action, filter, rate } => letters::start(server, action, filter, rate),
        Request::Tasks {} => Ok(Answer::Tasks(letters::tasks(server))),
        Request::CancelTask { id } => letters::cancel(server, id),
        Request::Sessions { after } => sessions::page(server, after.as_deref()),
        Request::Session { client } => sessions::one(server, &client),
        Request::Queue { client, after, limit, payload } => {
            sessions::queue(server, &client, after, limit, payload)
        }
        Request::PurgeSession { client } => sessions::purge(server, &client),
        Request::KickSession { client } => sessions::kick(server, client),
        Request::DeleteSession { client } => sessions::delete(server, client),
    }
}

fn about() -> About {
    About { kedgemq: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() }
}

/// Told how far something is; says whether it is still wanted.
pub(super) type Report<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// Does long work on a thread of its own. It is given up when the client goes.
async fn at_length(
    client: &mut Lines,
    work: impl FnOnce(Report<'_>) -> Result<Answer, String> + Send + 'static,
) -> Result<Answer, String> {
    let (tell, mut told) = mpsc::channel(1);
    let worker = spawn_blocking(move || {
        let mut last = Instant::now();
        work(&mut |progress| {
            if last.elapsed() >= PAUSE {
                last = Instant::now();
                // Full only says that the client is slow.
                let _ = tell.try_send(progress);
            }
            if tell.is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    });
    while let Some(progress) = told.recv().await {
        if !client.write(&Line::Progress(progress)).await {
            told.close();
        }
    }
    worker.await.unwrap_or_else(|_| Err("this failed in a way that it should not".to_owned()))
}

fn backup(server: &Handle, file: PathBuf, report: Report<'_>) -> Result<Answer, String> {
    if !file.is_absolute() {
        return Err("the name of the file must begin with /".to_owned());
    }
    let snapshot = server.snapshot().map_err(|error| error.to_string())?;
    let told = |Copied { rows, of, bytes }| Progress { done: rows, of, bytes };
    let copied = snapshot.copy_to(&file, &mut |copied| report(told(copied)));
    let copied = copied.map_err(|error| match error {
        BackupError::Target { .. } => format!("{error} (the broker writes it, as its own user)"),
        other => other.to_string(),
    })?;
    let Copied { rows, bytes, .. } = copied;
    info!(target: "kedgemq", file = %file.display(), rows, bytes, "backup made");
    let file_bytes = fs::metadata(&file).map_or(0, |found| found.len());
    Ok(Answer::Backup(Backup { file, rows, bytes, file_bytes }))
}

/// Writes lines to a client.
struct Lines(OwnedWriteHalf);

impl Lines {
    /// Whether it could be written.
    async fn write(&mut self, line: &Line) -> bool {
        let mut text = serde_json::to_vec(line).expect("numbers and text are JSON");
        text.push(b'\n');
        self.0.write_all(&text).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Progress = Progress { done: 1, of: 2, bytes: 3 };

    #[tokio::test]
    async fn progress_is_told_and_work_for_a_client_that_goes_is_given_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut client = Lines(ours.into_split().1);
        let work = at_length(&mut client, |report| {
            while report(HALF).is_continue() {
                std::thread::yield_now();
            }
            Err("given up".to_owned())
        });
        let tool = async {
            let mut lines = BufReader::new(theirs);
            let mut line = String::new();
            lines.read_line(&mut line).await.unwrap();
            assert_eq!(serde_json::from_str::<Line>(&line).unwrap(), Line::Progress(HALF));
        };
        let (end, ()) = tokio::join!(work, tool);
        assert_eq!(end, Err("given up".to_owned()));
    }
}
