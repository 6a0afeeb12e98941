//! The broker in another program, through what the library offers for that: this process is the
//! program.

#![expect(clippy::unwrap_used, reason = "all of it is test")]

#[path = "harness/example.rs"]
mod example;

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kedgemq::net::certs;
use kedgemq::net::tls::{ClientCertificate, Files, Reloadable};
use kedgemq::server::{Listener, ServeError, Server, Setup};
use kedgemq::store::StoreError;
use rumqttc::{AsyncClient, ConnAck, Event, EventLoop, MqttOptions, Packet, QoS, Transport};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::yield_now;
use tokio::time::timeout;

const ANY: &str = "127.0.0.1:0";

/// Long enough for a busy machine; who reaches it has failed.
const DEADLINE: Duration = Duration::from_secs(60);

async fn setup(data: &Path, address: &str) -> Setup {
    let mut setup = Setup::new(data);
    let socket = TcpListener::bind(address).await.unwrap();
    setup.listeners.push(Listener::plain(socket).unwrap());
    setup
}

async fn start(data: &Path) -> Server {
    Server::start(setup(data, ANY).await).await.unwrap()
}

/// A client with a persistent session.
struct Client {
    requests: AsyncClient,
    events: EventLoop,
    session_present: bool,
}

impl Client {
    async fn connect(id: &str, address: SocketAddr) -> Self {
        Self::connect_over(Transport::Tcp, id, address).await.unwrap()
    }

    async fn connect_over(
        transport: Transport,
        id: &str,
        address: SocketAddr,
    ) -> Result<Self, rumqttc::ConnectionError> {
        let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
        options.set_clean_session(false).set_transport(transport);
        let (requests, mut events) = AsyncClient::new(options, 10);
        let Event::Incoming(Packet::ConnAck(ConnAck { session_present, .. })) =
            timeout(DEADLINE, events.poll()).await.unwrap()?
        else {
            panic!("the first event is no CONNACK");
        };
        Ok(Self { requests, events, session_present })
    }

    async fn subscribe(&mut self, filter: &str) {
        self.requests.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        self.wait(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await;
    }

    async fn publish(&mut self, topic: &str, payload: &str) {
        self.requests.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        self.wait(|packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
    }

    async fn receive(&mut self) -> String {
        self.wait(|packet| match packet {
            Packet::Publish(publish) => Some(String::from_utf8(publish.payload.into()).unwrap()),
            _ => None,
        })
        .await
    }

    async fn wait<T>(&mut self, wanted: impl Fn(Packet) -> Option<T>) -> T {
        let work = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await.unwrap()
                    && let Some(found) = wanted(packet)
                {
                    return found;
                }
            }
        };
        timeout(DEADLINE, work).await.unwrap()
    }
}

/// Leaves a session that is owed `payload`.
async fn owe(address: SocketAddr, payload: &str) {
    Client::connect("away", address).await.subscribe("a").await;
    Client::connect("publisher", address).await.publish("a", payload).await;
}

async fn expect_owed(address: SocketAddr, payload: &str) {
    let mut back = Client::connect("away", address).await;
    assert!(back.session_present);
    assert_eq!(back.receive().await, payload);
}

#[test]
fn the_example_gets_what_it_stored() {
    let out = Command::new(example::build("embed")).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    let lines: Vec<&str> = text.lines().collect();
    let begins = ["started, on 127.0.0.1:", "received 71", "stopped, with", "started, on"];
    assert!(begins.iter().zip(&lines).all(|(begin, line)| line.starts_with(begin)), "{text}");
    assert_eq!(&lines[4..], ["received 74", "received 79", "stopped"]);
}

#[tokio::test]
async fn two_brokers_in_one_process_know_nothing_of_each_other() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (start(one.path()).await, start(other.path()).await);
    let (at_first, at_second) = (first.addresses()[0], second.addresses()[0]);
    assert_ne!(at_first, at_second);
    let mut on_first = Client::connect("same", at_first).await;
    on_first.subscribe("a").await;
    let mut on_second = Client::connect("same", at_second).await;
    assert!(!on_second.session_present);
    on_second.subscribe("a").await;
    Client::connect("publisher", at_first).await.publish("a", "of the first").await;
    Client::connect("publisher", at_second).await.publish("a", "of the second").await;
    assert_eq!(on_first.receive().await, "of the first");
    assert_eq!(on_second.receive().await, "of the second");

    first.stop().await.unwrap();
    Client::connect("publisher", at_second).await.publish("a", "goes on").await;
    assert_eq!(on_second.receive().await, "goes on");
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_broker_on_the_same_directory_is_refused_and_does_no_harm() {
    let data = tempfile::tempdir().unwrap();
    let first = start(data.path()).await;
    let second = setup(data.path(), ANY).await;
    let its_address = second.listeners[0].address;
    let refused = Server::start(second).await.unwrap_err();
    let file = data.path().join("kedgemq.redb");
    match &refused {
        ServeError::Open(StoreError::InUse { path }) => assert_eq!(*path, file),
        other => panic!("{other}"),
    }
    let told = format!("the data file {} is in use: stop the broker", file.display());
    assert!(refused.to_string().starts_with(&told), "{refused}");
    assert!(refused.source().is_some());
    TcpListener::bind(its_address).await.unwrap();

    owe(first.addresses()[0], "it goes on").await;
    expect_owed(first.addresses()[0], "it goes on").await;
    first.stop().await.unwrap();
}

#[tokio::test]
async fn stopping_frees_the_port_and_the_file() {
    let data = tempfile::tempdir().unwrap();
    let broker = start(data.path()).await;
    let address = broker.addresses()[0];
    owe(address, "kept").await;
    let mut connected = Client::connect("connected", address).await;
    let goodbye = async { while connected.events.poll().await.is_ok() {} };
    let (stopped, ()) = tokio::join!(broker.stop(), goodbye);
    stopped.unwrap();
    let broker = Server::start(setup(data.path(), &address.to_string()).await).await.unwrap();
    assert_eq!(broker.addresses(), [address]);
    expect_owed(address, "kept").await;
    broker.stop().await.unwrap();
}

#[tokio::test]
async fn dropping_keeps_what_was_acknowledged_and_frees_the_file_then_the_port() {
    let data = tempfile::tempdir().unwrap();
    let broker = start(data.path()).await;
    let address = broker.addresses()[0];
    owe(address, "kept").await;
    let mut connected = Client::connect("connected", address).await;
    drop(broker);
    let broker = start(data.path()).await;
    expect_owed(broker.addresses()[0], "kept").await;
    let ended = async { while connected.events.poll().await.is_ok() {} };
    timeout(DEADLINE, ended).await.unwrap();
    let bound = async {
        while TcpListener::bind(address).await.is_err() {
            yield_now().await;
        }
    };
    timeout(DEADLINE, bound).await.unwrap();
    broker.stop().await.unwrap();
}

#[test]
fn a_runtime_that_ends_takes_its_broker_with_it() {
    let data = tempfile::tempdir().unwrap();
    for held_outside in [true, false] {
        let runtime = Runtime::new().unwrap();
        let mut kept = runtime.block_on(async {
            let broker = start(data.path()).await;
            owe(broker.addresses()[0], "kept").await;
            let _connected = Client::connect("connected", broker.addresses()[0]).await;
            Some(broker)
        });
        if !held_outside {
            let broker = kept.take();
            runtime.spawn(async move {
                std::future::pending::<()>().await;
                drop(broker);
            });
        }
        drop(runtime);
        drop(kept);
        Runtime::new().unwrap().block_on(async {
            let broker = start(data.path()).await;
            expect_owed(broker.addresses()[0], "kept").await;
            broker.stop().await.unwrap();
        });
    }
}

#[tokio::test]
async fn tls_with_made_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let certs = directory.path().join("certs");
    certs::ensure(&certs, "gateway", &[], SystemTime::now()).unwrap();
    let paths = certs::Paths::within(&certs);
    let client = ClientCertificate::None;
    let files = Files { certificate: paths.server, key: paths.server_key, client };
    let tls = Arc::new(Reloadable::load(files).unwrap());
    let mut setup = setup(directory.path(), ANY).await;
    let socket = TcpListener::bind(ANY).await.unwrap();
    setup.listeners.push(Listener::tls(socket, tls).unwrap());
    let broker = Server::start(setup).await.unwrap();

    let [plain, encrypted] = *broker.addresses() else { panic!("there are two listeners") };
    let ca = std::fs::read(paths.ca).unwrap();
    let over_tls = || Transport::tls(ca.clone(), None, None);
    let mut subscriber = Client::connect_over(over_tls(), "s", encrypted).await.unwrap();
    subscriber.subscribe("a").await;
    Client::connect("p", plain).await.publish("a", "from plain to TLS").await;
    assert_eq!(subscriber.receive().await, "from plain to TLS");
    assert!(Client::connect_over(Transport::Tcp, "s", encrypted).await.is_err());
    broker.stop().await.unwrap();
}
