use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;

/// 2026-06-01.
const NOW: Duration = Duration::from_secs(1_780_272_000);

fn now() -> SystemTime {
    UNIX_EPOCH + NOW
}

fn made(directory: &Path, more: &[&str], at: SystemTime) -> Outcome {
    let more: Vec<String> = more.iter().map(ToString::to_string).collect();
    ensure(directory, "gateway", &more, at).unwrap()
}

fn read_all(paths: &Paths) -> [String; 4] {
    [&paths.ca, &paths.ca_key, &paths.server, &paths.server_key]
        .map(|file| fs::read_to_string(file).unwrap())
}

fn names_in(file: &Path) -> Vec<String> {
    let der = first(file).unwrap();
    names_of(&parsed(&der, file).unwrap()).into_iter().collect()
}

fn days(directory: &Path, at: SystemTime) -> u64 {
    days_left(&Paths::within(directory).server, at).unwrap().unwrap()
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn an_empty_directory_gets_all_four_and_keeps_them() {
    let directory = tempfile::tempdir().unwrap();
    let certs = directory.path().join("certs");
    assert_eq!(made(&certs, &["192.0.2.7", "mqtt.example"], now()), Outcome::Made);
    let paths = Paths::within(&certs);
    let before = read_all(&paths);
    for key in [&paths.ca_key, &paths.server_key] {
        assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let expected =
        ["127.0.0.1", "192.0.2.7", "::1", "gateway", "gateway.local", "localhost", "mqtt.example"];
    assert_eq!(names_in(&paths.server), expected);
    assert_eq!(fs::read_dir(&certs).unwrap().count(), 4, "nothing else is left behind");
    assert_eq!(made(&certs, &["192.0.2.7"], now() + 365 * DAY), Outcome::Kept);
    assert_eq!(read_all(&paths), before);
    tls::load(&tls::Files {
        certificate: paths.server,
        key: paths.server_key,
        client: tls::ClientCertificate::None,
    })
    .unwrap();
}

#[test]
fn a_strict_verifier_is_content() {
    let directory = tempfile::tempdir().unwrap();
    made(directory.path(), &[], now());
    let paths = Paths::within(directory.path());
    let (ca, server) = (paths.ca.to_str().unwrap(), paths.server.to_str().unwrap());
    for name in [["-verify_hostname", "localhost"], ["-verify_ip", "::1"]] {
        let text = openssl(&[
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-attime",
            "86400",
            name[0],
            name[1],
            "-CAfile",
            ca,
            server,
        ]);
        assert!(text.contains("OK"), "{text}");
    }
    let text = openssl(&["x509", "-in", server, "-noout", "-text"]);
    for part in ["Subject Key Identifier", "Authority Key Identifier", "Web Server Auth"] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert!(openssl(&["x509", "-in", ca, "-noout", "-text"]).contains("Certificate Sign"));
}

#[test]
fn lives_are_counted_from_a_clock_that_is_set() {
    let directory = tempfile::tempdir().unwrap();
    made(directory.path(), &[], UNIX_EPOCH + DAY);
    let paths = Paths::within(directory.path());
    assert!(days(directory.path(), now()) > 4 * 365);
    assert!(days_left(&paths.ca, now()).unwrap().unwrap() > 19 * 365);
    let der = first(&paths.server).unwrap();
    assert_eq!(parsed(&der, &paths.server).unwrap().validity().not_before.timestamp(), 0);
}

#[test]
fn our_own_is_renewed_when_30_days_remain() {
    let directory = tempfile::tempdir().unwrap();
    made(directory.path(), &[], now());
    let paths = Paths::within(directory.path());
    let before = read_all(&paths);
    let end = expiry(&paths.server).unwrap().unwrap();
    assert_eq!(made(directory.path(), &[], end - 31 * DAY), Outcome::Kept);
    assert_eq!(made(directory.path(), &[], end - 29 * DAY), Outcome::Renewed);
    let after = read_all(&paths);
    assert_ne!(before[2], after[2]);
    assert_eq!((&before[0], &before[1], &before[3]), (&after[0], &after[1], &after[3]));
    assert!(days(directory.path(), end) > 4 * 365);
    assert_eq!(made(directory.path(), &[], end - 29 * DAY), Outcome::Kept);
}

#[test]
fn a_renewal_ends_with_its_ca_and_is_not_repeated() {
    let directory = tempfile::tempdir().unwrap();
    made(directory.path(), &[], now());
    let paths = Paths::within(directory.path());
    let ca_ends = expiry(&paths.ca).unwrap();
    let late = ca_ends.unwrap() - 20 * DAY;
    assert_eq!(made(directory.path(), &[], late), Outcome::Renewed);
    assert_eq!(expiry(&paths.server).unwrap(), ca_ends);
    assert_eq!(made(directory.path(), &[], late), Outcome::Kept);
}

#[test]
fn a_name_that_is_asked_for_is_added_to_those_it_has() {
    let directory = tempfile::tempdir().unwrap();
    made(directory.path(), &["one.example"], now());
    assert_eq!(made(directory.path(), &["192.0.2.1"], now()), Outcome::Renewed);
    let names = names_in(&Paths::within(directory.path()).server);
    assert!(names.contains(&"one.example".to_owned()) && names.contains(&"192.0.2.1".to_owned()));
    assert_eq!(made(directory.path(), &["one.example", "192.0.2.1"], now()), Outcome::Kept);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let theirs = tempfile::tempdir().unwrap();
    let paths = Paths::within(theirs.path());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["theirs.example".to_owned()]).unwrap();
    params.not_after = (now() + DAY).into();
    fs::write(&paths.server, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&paths.server_key, key.serialize_pem()).unwrap();
    assert_eq!(made(theirs.path(), &["other.example"], now()), Outcome::Kept);
    assert!(!paths.ca.exists() && !paths.ca_key.exists());
    // The same beside a CA of ours: another issuer.
    let ours = tempfile::tempdir().unwrap();
    made(ours.path(), &[], now());
    for name in ["ca.crt", "ca.key"] {
        fs::copy(ours.path().join(name), theirs.path().join(name)).unwrap();
    }
    let before = read_all(&paths);
    assert_eq!(made(theirs.path(), &["other.example"], now()), Outcome::Kept);
    assert_eq!(read_all(&paths), before);
}

#[test]
fn a_start_that_was_cut_off_is_taken_up() {
    for cut in [
        &["ca.crt", "server.crt", "server.key"][..],
        &["server.crt"],
        &["server.crt", "server.key"],
    ] {
        let directory = tempfile::tempdir().unwrap();
        made(directory.path(), &[], now());
        let ca_key = fs::read(directory.path().join("ca.key")).unwrap();
        for name in cut {
            fs::remove_file(directory.path().join(name)).unwrap();
        }
        assert_eq!(made(directory.path(), &[], now()), Outcome::Made);
        assert_eq!(fs::read(directory.path().join("ca.key")).unwrap(), ca_key);
    }
}

#[test]
fn what_cannot_be_completed_says_what_to_do() {
    let missing = |names: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        made(directory.path(), &[], now());
        for name in names {
            fs::remove_file(directory.path().join(name)).unwrap();
        }
        let error = ensure(directory.path(), "gateway", &[], now()).unwrap_err();
        let place = format!("{}/", directory.path().display());
        error.to_string().replace(&place, "")
    };
    assert_eq!(
        missing(&["server.key"]),
        "server.key: is missing, but server.crt is there: put its key beside it, or move it away \
         to have both made"
    );
    assert_eq!(
        missing(&["server.crt", "server.key", "ca.key"]),
        "ca.key: is missing, but ca.crt is there: put its key beside it, or a server certificate \
         and its key"
    );
    let directory = tempfile::tempdir().unwrap();
    let error = ensure(directory.path(), "gateway", &["a b".to_owned()], now()).unwrap_err();
    assert!(matches!(error, CertError::Name(name) if name == "a b"));
}

#[test]
fn a_key_of_another_ca_signs_nothing() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    made(one.path(), &[], now());
    made(two.path(), &[], now());
    fs::copy(two.path().join("ca.key"), one.path().join("ca.key")).unwrap();
    fs::remove_file(one.path().join("server.crt")).unwrap();
    let error = ensure(one.path(), "gateway", &[], now()).unwrap_err();
    assert!(error.to_string().contains("is not the key of"), "{error}");
}

#[test]
fn starts_at_the_same_time_agree() {
    let directory = tempfile::tempdir().unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let path = directory.path().to_owned();
            std::thread::spawn(move || ensure(&path, "gateway", &[], now()).unwrap())
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let paths = Paths::within(directory.path());
    tls::load(&tls::Files {
        certificate: paths.server,
        key: paths.server_key,
        client: tls::ClientCertificate::None,
    })
    .unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
}
