//! For tests: an engine on a store that commits when the test says so, and real sockets.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::Access;
use super::accept::Life;
use super::admit::{Door, admit};
use super::clock::Clock;
use super::disk::Disk;
use super::engine::Engine;
use super::outbox::{Outbox, Peer};
use super::work::By;
use crate::broker::Broker;
use crate::config::Settings;
use crate::mqtt::message::Message;
use crate::mqtt::reply::Delivery;
use crate::mqtt::{QoS, Reply};
use crate::net::tls::Reloadable;
use crate::store::{Checkpoint, StoreError};
use crate::time::{Timestamp, WallClock};
use crate::turn::{ConnectionId, LetterLoad, Load, Output, Record, RecordNumber};

/// Bytes above which outboxes of the rig are full.
pub(super) const OUTBOX: usize = 100_000;

/// Longer than any test.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// CONNECT of 3.1.1 with Clean Session and Client Identifier "c".
pub(super) const CONNECT: &[u8] = &[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'c'];

/// What the engine handed to the store.
#[derive(Debug, Default)]
pub(super) struct Submitted {
    pub(super) records: Vec<Record>,
    pub(super) last: RecordNumber,
    pub(super) wanted: bool,
}

/// A store that only notes.
#[derive(Clone, Default)]
pub(super) struct Notes {
    pub(super) submitted: Arc<Mutex<Vec<Submitted>>>,
    pub(super) full: Arc<AtomicBool>,
    /// How many looks still find room when it is full.
    pub(super) late: Arc<AtomicUsize>,
}

impl Disk for Notes {
    fn submit(
        &self,
        records: &[Record],
        _loads: &mut Vec<Load>,
        last: RecordNumber,
        wanted: bool,
        _checkpoint: Checkpoint,
    ) {
        let records = records.to_vec();
        let submitted = Submitted { records, last, wanted };
        self.submitted.lock().unwrap().push(submitted);
    }

    fn recycle(&self, _messages: &mut dyn Iterator<Item = Arc<Message>>) {}

    fn ask(&self, letters: &mut Vec<LetterLoad>) {
        letters.clear();
    }

    fn confirm(&self, _checkpoint: Checkpoint) {}

    fn is_full(&self) -> bool {
        let one_less = |late: usize| late.checked_sub(1);
        self.full.load(Ordering::SeqCst)
            && self.late.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_err()
    }

    fn snapshot(&self) -> Result<crate::store::Snapshot, StoreError> {
        unreachable!("nobody asks for one")
    }

    fn stop(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// An engine with an empty core, and its store.
pub(super) fn engine() -> (Arc<Engine>, Notes) {
    let clock = Clock::continue_from(None, 0, Duration::ZERO);
    let broker = Broker::new(Settings::default(), 1, Timestamp(0));
    let wall = WallClock::default();
    let engine = Arc::new(Engine::new(broker, clock, wall, OUTBOX));
    let notes = Notes::default();
    engine.start(Box::new(notes.clone()));
    (engine, notes)
}

/// Both ends of a TCP connection: the client's and ours.
pub(super) async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

/// A client whose connection is served by its own task.
pub(super) struct Served {
    pub(super) client: TcpStream,
    /// `None` when it was not admitted.
    pub(super) outbox: Option<Arc<Outbox>>,
    pub(super) task: JoinHandle<()>,
}

/// Serves a client of 3.1.1 that has its CONNACK.
pub(super) async fn connected(engine: &Arc<Engine>) -> Served {
    let mut served = serve(engine, LONG, CONNECT).await;
    let mut connack = [0; 4];
    served.client.read_exact(&mut connack).await.unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    served
}

/// Serves a client that begins with `hello`.
pub(super) async fn serve(engine: &Arc<Engine>, connect_timeout: Duration, hello: &[u8]) -> Served {
    let (mut client, socket) = sockets().await;
    client.write_all(hello).await.unwrap();
    let (outbox, task) = admitted(engine, socket, None, connect_timeout);
    let outbox = outbox.await.unwrap();
    Served { client, outbox, task }
}

/// Serves our end of a connection in a task: its outbox, once it is admitted or not.
pub(super) fn admitted(
    engine: &Arc<Engine>,
    socket: TcpStream,
    tls: Option<Arc<Reloadable>>,
    connect_timeout: Duration,
) -> (oneshot::Receiver<Option<Arc<Outbox>>>, JoinHandle<()>) {
    let peer = peer(&socket);
    let access = Access {
        anonymous: true,
        passwords: None,
        common_name_as_user: false,
        certificate_required: false,
    };
    let door = Door {
        engine: Arc::clone(engine),
        password_permits: Semaphore::new(1),
        connect_timeout,
        packet_size: 1_000_000,
    };
    let (seated, outbox) = oneshot::channel();
    let task = tokio::spawn(async move {
        let admitted = admit(Arc::new(door), socket, peer, tls, Arc::new(access)).await;
        let _ = seated.send(admitted.as_ref().map(|connection| connection.outbox()));
        if let Some(connection) = admitted {
            Life::Serving(connection).await;
        }
    });
    (outbox, task)
}

/// A connection's seat whose task nobody runs.
pub(super) async fn seat(engine: &Engine) -> (TcpStream, Arc<Outbox>) {
    let (client, socket) = sockets().await;
    let peer = peer(&socket);
    let (read, half) = socket.into_split();
    drop(read);
    (client, engine.seat(peer, Some(half), Waker::noop().clone()))
}

fn peer(socket: &TcpStream) -> Peer {
    let address = socket.peer_addr().unwrap();
    let tls = false;
    Peer { address, tls }
}

/// Lets the core say `reply` at once.
pub(super) fn say(engine: &Engine, id: ConnectionId, output: Output) {
    engine.turn(By::Server, |step| step.call(|_, _, turn| turn.send(id, output)));
}

/// Lets the core say `reply` when a new record is on disk, and gives that record.
pub(super) fn say_held(engine: &Engine, id: ConnectionId, reply: Reply) -> RecordNumber {
    engine.turn(By::Server, |step| {
        let mut number = RecordNumber(0);
        step.call(|_, _, turn| {
            number = turn.record(Record::Marks(crate::turn::Marks::default()));
            turn.hold(number, id, Output::Packet(reply));
        });
        number
    })
}

/// A QoS 0 PUBLISH to "t".
pub(super) fn publish(payload: Vec<u8>) -> Output {
    let message = Message {
        topic: "t".into(),
        properties: Default::default(),
        payload: payload.into(),
        qos: QoS::AtMostOnce,
        retain: false,
        received: Timestamp(0),
        expiry: None,
        past: None,
    };
    Output::from(Delivery {
        message: Arc::new(message),
        qos: QoS::AtMostOnce,
        packet_id: None,
        dup: false,
        retain: false,
        subscription_ids: None,
        topic_alias: None,
    })
}
