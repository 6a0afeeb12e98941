use std::fs;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, SupportedProtocolVersion};

use super::*;

/// A CA, and `server.crt`, `server.key`, `ca.crt` in a directory.
struct Rig {
    directory: tempfile::TempDir,
    ca: Issuer<'static, KeyPair>,
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(directory.path().join("ca.crt"), certificate.pem()).unwrap();
        let rig = Self { directory, ca: Issuer::new(params, key) };
        rig.issue("server", None);
        rig
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A certificate for `localhost` with this Common Name.
    fn issue(&self, name: &str, common_name: Option<&str>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(common_name) = common_name {
            params.distinguished_name.push(DnType::CommonName, common_name);
        }
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        fs::write(self.path(&format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn files(&self, client: ClientCertificate) -> Files {
        Files { certificate: self.path("server.crt"), key: self.path("server.key"), client }
    }

    fn client(
        &self,
        name: Option<&str>,
        version: &'static SupportedProtocolVersion,
    ) -> ClientConfig {
        client_config(self.directory.path(), name, version)
    }
}

/// A client that trusts `ca.crt` and shows the certificate of this name.
fn client_config(
    directory: &Path,
    name: Option<&str>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let path = |name: &str| directory.join(name);
    let mut roots = RootCertStore::empty();
    roots.add(certificates(&path("ca.crt")).unwrap().remove(0)).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    match name {
        None => config.with_no_client_auth(),
        Some(name) => config
            .with_client_auth_cert(
                certificates(&path(&format!("{name}.crt"))).unwrap(),
                private_key(&path(&format!("{name}.key"))).unwrap(),
            )
            .unwrap(),
    }
}

/// Shakes hands in memory; gives the server's side.
fn handshake(
    server: Arc<ServerConfig>,
    client: ClientConfig,
) -> Result<ServerConnection, rustls::Error> {
    let mut server = ServerConnection::new(server)?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    while server.is_handshaking() || client.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets()?;
    }
    Ok(server)
}

#[test]
fn both_versions_shake_hands_and_give_the_common_name() {
    let rig = Rig::new();
    rig.issue("meter", Some("meter-17"));
    let required = rig.files(ClientCertificate::Required(rig.path("ca.crt")));
    for version in [&TLS12, &TLS13] {
        let plain = load(&rig.files(ClientCertificate::None)).unwrap();
        let connection = handshake(plain, rig.client(Some("meter"), version)).unwrap();
        assert_eq!(common_name(&connection), None);
        let config = load(&required).unwrap();
        let connection = handshake(config, rig.client(Some("meter"), version)).unwrap();
        assert_eq!(common_name(&connection).as_deref(), Some("meter-17"));
    }
}

#[test]
fn a_certificate_without_a_common_name_is_no_user() {
    let rig = Rig::new();
    rig.issue("none", None);
    let config = load(&rig.files(ClientCertificate::Required(rig.path("ca.crt")))).unwrap();
    let connection = handshake(config, rig.client(Some("none"), &TLS13)).unwrap();
    assert_eq!(common_name(&connection), None);
}

#[test]
fn a_certificate_is_required_or_not() {
    let (rig, other) = (Rig::new(), Rig::new());
    other.issue("stranger", Some("meter-17"));
    for name in ["stranger.crt", "stranger.key"] {
        fs::copy(other.path(name), rig.path(name)).unwrap();
    }
    let optional = load(&rig.files(ClientCertificate::Optional(rig.path("ca.crt")))).unwrap();
    let required = load(&rig.files(ClientCertificate::Required(rig.path("ca.crt")))).unwrap();
    let without = || rig.client(None, &TLS13);
    let stranger = || rig.client(Some("stranger"), &TLS13);
    assert_eq!(common_name(&handshake(Arc::clone(&optional), without()).unwrap()), None);
    assert!(handshake(Arc::clone(&required), without()).is_err());
    assert!(handshake(optional, stranger()).is_err());
    assert!(handshake(required, stranger()).is_err());
}

#[test]
fn a_reload_takes_the_new_certificate_and_a_bad_file_keeps_the_old() {
    let rig = Rig::new();
    let held = Reloadable::load(rig.files(ClientCertificate::None)).unwrap();
    let first = held.current();
    rig.issue("server", None);
    held.reload().unwrap();
    let second = held.current();
    assert!(!Arc::ptr_eq(&first, &second));
    fs::write(rig.path("server.crt"), "garbage").unwrap();
    assert!(held.reload().is_err());
    assert!(Arc::ptr_eq(&second, &held.current()));
}

#[test]
fn each_error_names_its_file() {
    let rig = Rig::new();
    rig.issue("other", None);
    fs::write(rig.path("empty"), "").unwrap();
    fs::write(rig.path("cut"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    let table = [
        ("missing", "server.key", "missing: cannot be read"),
        ("empty", "server.key", "empty: holds no certificate in PEM format"),
        ("cut", "server.key", "cut: cannot be used"),
        ("server.crt", "empty", "empty: holds no private key without a passphrase in PEM format"),
        ("server.crt", "other.key", "other.key: this key does not belong to the certificate"),
    ];
    for (certificate, key, text) in table {
        let files = Files {
            certificate: rig.path(certificate),
            key: rig.path(key),
            client: ClientCertificate::None,
        };
        let error = load(&files).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    let files = rig.files(ClientCertificate::Required(rig.path("empty")));
    assert!(load(&files).unwrap_err().to_string().contains("empty: holds no certificate"));
}

#[test]
fn the_recipe_for_client_certificates_works() {
    let page = include_str!("../../../certs/README.md");
    let (_, recipe) = page.split_once("```sh\n").unwrap();
    let (recipe, _) = recipe.split_once("mosquitto_pub").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let certs = directory.path().join("certs");
    crate::net::certs::ensure(&certs, "gateway", &[], std::time::SystemTime::now()).unwrap();
    let output = std::process::Command::new("sh")
        .args(["-e", "-c", recipe])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = |name: &str| certs.join(name);
    let server = load(&Files {
        certificate: path("server.crt"),
        key: path("server.key"),
        client: ClientCertificate::Required(path("ca.crt")),
    });
    fs::copy(path("ca.crt"), directory.path().join("ca.crt")).unwrap();
    let client = client_config(directory.path(), Some("meter-17"), &TLS13);
    let connection = handshake(server.unwrap(), client).unwrap();
    assert_eq!(common_name(&connection).as_deref(), Some("meter-17"));
}
