//! A certificate that both brokers show, so that their handshakes are the same work.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// TLS 1.3 only, and each handshake a full one.
    pub(crate) client: Arc<ClientConfig>,
}

impl Certificate {
    /// ECDSA over P-256, for localhost.
    pub(crate) fn make(directory: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("no certificate: {error}");
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| failed(&error))?;
        let (certificate, key) = (directory.join("server.crt"), directory.join("server.key"));
        fs::write(&certificate, made.cert.pem()).map_err(|error| failed(&error))?;
        fs::write(&key, made.signing_key.serialize_pem()).map_err(|error| failed(&error))?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).map_err(|error| failed(&error))?;
        let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| failed(&error))?;
        let mut client = client.with_root_certificates(roots).with_no_client_auth();
        client.resumption = Resumption::disabled();
        Ok(Self { certificate, key, client: Arc::new(client) })
    }
}
