//! Who may connect, and what they may do.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

use crate::harness::Broker;
use crate::mosquitto::{self, Subscriber};
use crate::rumqtt::{self, Client, Options};

/// What the mosquitto clients call a refusal, in small letters.
const REFUSALS: [&str; 3] = ["not authorised", "not authorized", "bad user name or password"];

#[test]
fn a_password_file_says_who_may_connect() {
    let broker = with_users(&[("alice", "correct horse")], "");
    for version in mosquitto::VERSIONS {
        let publish = ["-V", version, "-q", "1", "-t", "a", "-m", "b"];
        mosquitto::publish(&broker, &with(&publish, &["-u", "alice", "-P", "correct horse"]));
        for wrong in [&["-u", "alice", "-P", "wrong"][..], &["-u", "bob", "-P", "wrong"], &[]] {
            expect_refusal(&broker, &with(&publish, wrong));
        }
    }
    for version in rumqtt::VERSIONS {
        let with = |password| Options {
            user: Some(("alice", password)),
            ..Options::new(version, "client")
        };
        assert!(Client::connect(&broker, with("correct horse")).is_ok());
        assert!(Client::connect(&broker, with("wrong")).is_err());
    }
}

#[test]
fn sighup_reads_the_passwords_again() {
    let broker = with_users(&[("alice", "first")], "");
    let file = broker.path("passwords");
    set_password(&file, "alice", "second");
    set_password(&file, "bob", "new here");
    broker.signal("HUP");
    broker.wait_for_log("read the password file again");
    let publish = ["-V", "5", "-q", "1", "-t", "a", "-m", "b"];
    mosquitto::publish(&broker, &with(&publish, &["-u", "alice", "-P", "second"]));
    mosquitto::publish(&broker, &with(&publish, &["-u", "bob", "-P", "new here"]));
    expect_refusal(&broker, &with(&publish, &["-u", "alice", "-P", "first"]));
}

#[test]
fn an_acl_file_says_what_they_may_do() {
    let users = [("alice", "a"), ("bob", "b")];
    let rights = "
        user alice
        topic write plant/#
        user bob
        topic read plant/open/#
        pattern readwrite home/%u/#
    ";
    let broker = with_users(&users, rights);
    let (alice, bob) = (["-u", "alice", "-P", "a"], ["-u", "bob", "-P", "b"]);
    for version in mosquitto::VERSIONS {
        // A filter that is wider than the rights is filtered at delivery.
        let options = ["-V", version, "-q", "1", "-t", "#"];
        let reader = Subscriber::start(&broker, "%t %p", &with(&options, &bob));
        let publish = |user: &[&str], topic, payload| {
            let message = ["-V", version, "-q", "1", "-t", topic, "-m", payload];
            mosquitto::run_publisher(&broker, &with(&message, user))
        };
        publish(&alice, "plant/secret/a", "not for bob");
        publish(&alice, "plant/open/a", "for bob");
        publish(&bob, "plant/open/a", "bob may not write");
        publish(&alice, "home/bob/a", "alice may not write there");
        publish(&bob, "home/bob/a", "bob's own");
        assert_eq!(reader.messages(2), ["plant/open/a for bob", "home/bob/a bob's own"]);
    }
}

#[test]
fn a_will_without_the_right_is_not_published() {
    let users = [("alice", "a"), ("bob", "b")];
    let rights = "user alice\ntopic write ok/#\nuser bob\ntopic read #\n";
    let broker = with_users(&users, rights);
    let options = ["-V", "5", "-q", "1", "-t", "#", "-u", "bob", "-P", "b"];
    let reader = Subscriber::start(&broker, "%t", &options);
    for topic in ["no/will", "ok/will"] {
        let options = ["-V", "5", "-t", "x", "-u", "alice", "-P", "a"];
        let will = ["--will-topic", topic, "--will-payload", "gone"];
        let client = Subscriber::spawn(&broker, "%p", &with(&options, &will));
        // The first may be refused at once; the second is killed once it is in.
        client.wait_connected();
    }
    assert_eq!(reader.messages(1), ["ok/will"]);
}

#[test]
fn a_client_certificate_names_the_user() {
    let made = ClientCertificates::make("meter-17");
    let broker = Broker::start_configured(|directory| {
        fs::write(directory.join("clients.crt"), &made.ca).expect("the directory is ours");
        let rights = "user meter-17\ntopic readwrite meter/#\n";
        fs::write(directory.join("rights"), rights).expect("the directory is ours");
        [
            "[auth]",
            "acl_file = \"rights\"",
            "[[listener]]",
            "address = \"127.0.0.1:0\"",
            "tls = true",
            "client_ca = \"clients.crt\"",
            "client_certificate = \"required\"",
            "common_name_as_user = true",
        ]
        .join("\n")
    });
    for version in rumqtt::VERSIONS {
        let certificate = Some((made.certificate.clone(), made.key.clone()));
        let options = Options { certificate, ..Options::new(version, "client") };
        let mut client = Client::connect(&broker, options).expect("its certificate is good");
        client.subscribe("meter/#", 1);
        client.publish("meter/a", 1, false, b"its name has the right");
        assert_eq!(client.message().topic, "meter/a");

        assert!(Client::connect(&broker, Options::new(version, "none")).is_err());
        let other = ClientCertificates::make("meter-17");
        let certificate = Some((other.certificate, other.key));
        let options = Options { certificate, ..Options::new(version, "other") };
        assert!(Client::connect(&broker, options).is_err(), "by a CA that nobody trusts");
    }
}

/// A CA of clients and a certificate by it, PEM.
struct ClientCertificates {
    ca: Vec<u8>,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl ClientCertificates {
    fn make(common_name: &str) -> Self {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "clients");
        let ca = CertifiedIssuer::self_signed(ca, new_key()).expect("valid parameters");
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, common_name);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = new_key();
        let certificate = client.signed_by(&key, &ca).expect("valid parameters");
        Self {
            ca: ca.pem().into(),
            certificate: certificate.pem().into(),
            key: key.serialize_pem().into(),
        }
    }
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("the system has randomness")
}

/// A TLS listener for `users` alone, with `rights` as its ACL file if there are any.
fn with_users(users: &[(&str, &str)], rights: &str) -> Broker {
    Broker::start_configured(|directory| {
        for (user, password) in users {
            set_password(&directory.join("passwords"), user, password);
        }
        let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = true\nanonymous = false\n";
        let mut auth = "[auth]\npassword_file = \"passwords\"\n".to_owned();
        if !rights.is_empty() {
            let lines = rights.lines().map(|line| format!("{}\n", line.trim()));
            let written = fs::write(directory.join("rights"), lines.collect::<String>());
            written.expect("the directory is ours");
            auth.push_str("acl_file = \"rights\"\n");
        }
        auth + listener
    })
}

/// `kedgemq passwd`, with the password piped in.
fn set_password(file: &Path, user: &str, password: &str) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kedgemq"))
        .arg("passwd")
        .arg(file)
        .arg(user)
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    writeln!(stdin, "{password}").expect("it reads its input");
    drop(stdin);
    assert!(child.wait().expect("it is our child").success(), "kedgemq passwd failed");
}

fn expect_refusal(broker: &Broker, arguments: &[&str]) {
    let output = mosquitto::run_publisher(broker, arguments);
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(!output.status.success(), "{arguments:?} was accepted");
    assert!(REFUSALS.iter().any(|refusal| said.contains(refusal)), "{arguments:?}: {said}");
}

fn with<'a>(options: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [options, more].concat()
}
