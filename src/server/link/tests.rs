use std::sync::Arc;
use std::time::SystemTime;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::super::engine::Engine;
use super::super::outbox::Outbox;
use super::super::rig::{self, CONNECT, LONG, OUTBOX, publish, say, say_held};
use super::*;
use crate::mqtt::Reply;
use crate::net::certs::{Paths, ensure};
use crate::net::tls::{ClientCertificate, Files, Reloadable, certificates};
use crate::turn::Output;

const PINGREQ: [u8; 2] = [0xC0, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];

fn pingresp() -> Reply {
    Reply::PingResp
}

/// A client over TLS that has its CONNACK.
async fn connected(engine: &Arc<Engine>) -> (client::TlsStream<TcpStream>, Arc<Outbox>) {
    let directory = tempfile::tempdir().unwrap();
    ensure(directory.path(), "gateway", &[], SystemTime::now()).unwrap();
    let paths = Paths::within(directory.path());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&paths.ca).unwrap());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (certificate, key) = (paths.server, paths.server_key);
    let files = Files { certificate, key, client: ClientCertificate::None };
    let tls = Arc::new(Reloadable::load(files).unwrap());
    let (socket, ours) = rig::sockets().await;
    let (outbox, _task) = rig::admitted(engine, ours, Some(tls), LONG);
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
    client.write_all(CONNECT).await.unwrap();
    assert_eq!(read(&mut client, 4).await, [0x20, 2, 0, 0]);
    (client, outbox.await.unwrap().unwrap())
}

async fn read(client: &mut client::TlsStream<TcpStream>, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn over_tls_what_others_and_the_store_let_go_is_written_too() {
    let (engine, _) = rig::engine();
    let (mut client, outbox) = connected(&engine).await;
    client.write_all(&PINGREQ).await.unwrap();
    assert_eq!(read(&mut client, 2).await, PINGRESP);
    say(&engine, outbox.id(), Output::Packet(pingresp()));
    assert_eq!(read(&mut client, 2).await, PINGRESP);
    let number = say_held(&engine, outbox.id(), pingresp());
    let storage = Arc::clone(&engine);
    std::thread::spawn(move || storage.set_committed(number)).join().unwrap();
    assert_eq!(read(&mut client, 2).await, PINGRESP);
}

#[tokio::test]
async fn over_tls_a_slow_client_gets_everything_and_the_end() {
    let (engine, _) = rig::engine();
    let (mut client, outbox) = connected(&engine).await;
    for _ in 0..100 {
        say(&engine, outbox.id(), publish(vec![7; OUTBOX]));
    }
    say(&engine, outbox.id(), Output::Packet(pingresp()));
    say(&engine, outbox.id(), Output::Close);
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap(); // An end without TLS's goodbye is an error.
    assert_eq!(all.len(), 100 * (7 + OUTBOX) + 2);
    assert_eq!(all[all.len() - 2..], PINGRESP);
}
