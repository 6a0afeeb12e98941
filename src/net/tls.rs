//! TLS for a listener: its configuration from PEM files, held so that it can be read again.
//!
//! A connection keeps the configuration that it began with; a reload that fails changes nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, ServerConnection};

/// The files of a TLS listener, all PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The server's certificate, followed by what leads to its CA.
    pub certificate: PathBuf,
    /// The private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
    /// Whether clients show a certificate, too.
    pub client: ClientCertificate,
}

/// Whether clients are asked for a certificate, and the PEM file of the CAs that may sign it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// They are not asked.
    #[default]
    None,
    /// They are asked; one that is shown must be good.
    Optional(PathBuf),
    /// The handshake fails without a good one.
    Required(PathBuf),
}

/// The configuration of a TLS listener that can be read again while connections come in.
#[derive(Debug)]
pub struct Reloadable {
    files: Files,
    current: RwLock<Arc<ServerConfig>>,
}

impl Reloadable {
    /// Reads the files for the first time.
    pub fn load(files: Files) -> Result<Self, TlsError> {
        let current = RwLock::new(load(&files)?);
        Ok(Self { files, current })
    }

    /// The newest good configuration, for the next connection.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files again. On an error the configuration stays what it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = load(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// The files that it is read from.
    pub fn files(&self) -> &Files {
        &self.files
    }
}

/// Why TLS cannot be set up, naming the file.
#[derive(Debug)]
pub struct TlsError {
    /// The file that is to blame.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a PEM file.
#[derive(Debug)]
pub enum Problem {
    /// It cannot be read.
    Unreadable(std::io::Error),
    /// It is not PEM, or holds nothing of the kind that is looked for.
    NoPem(&'static str),
    /// It is PEM, but TLS cannot use it.
    Unusable(String),
    /// Certificate and key do not belong together.
    Mismatch,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        match &self.problem {
            Problem::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Problem::NoPem(kind) => write!(f, "holds no {kind} in PEM format"),
            Problem::Unusable(why) => write!(f, "cannot be used: {why}"),
            Problem::Mismatch => write!(f, "this key does not belong to the certificate"),
        }
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    fn new(file: &Path, problem: Problem) -> Self {
        Self { file: file.to_owned(), problem }
    }

    fn unusable(file: &Path, why: impl fmt::Display) -> Self {
        Self::new(file, Problem::Unusable(why.to_string()))
    }
}

/// Makes the configuration of a listener from its files: TLS 1.2 and 1.3.
pub(crate) fn load(files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(&files.certificate)?;
    let key = private_key(&files.key)?;
    let verifier = client_verifier(&files.client, &provider)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the cipher suites of both versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::new(&files.key, Problem::Mismatch),
            rustls::Error::InvalidCertificate(_) => TlsError::unusable(&files.certificate, error),
            _ => TlsError::unusable(&files.key, error),
        })?;
    Ok(Arc::new(config))
}

/// The Common Name of the certificate that the client showed and that was found good. `None`
/// also when the certificate has several: which of them would be the user is a guess.
pub(crate) fn common_name(connection: &ServerConnection) -> Option<String> {
    let certificate = connection.peer_certificates()?.first()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    names.next().is_none().then_some(name)
}

/// All certificates of a file, in order.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(file)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(chain) if chain.is_empty() => Err(TlsError::new(file, Problem::NoPem("certificate"))),
        Ok(chain) => Ok(chain),
        Err(error) => Err(TlsError::unusable(file, error)),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            TlsError::new(file, Problem::NoPem("private key without a passphrase"))
        }
        other => TlsError::unusable(file, other),
    })
}

fn client_verifier(
    client: &ClientCertificate,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let (ca, required) = match client {
        ClientCertificate::None => return Ok(WebPkiClientVerifier::no_client_auth()),
        ClientCertificate::Optional(ca) => (ca, false),
        ClientCertificate::Required(ca) => (ca, true),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| TlsError::unusable(ca, error))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| TlsError::unusable(ca, error))
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|error| TlsError::new(file, Problem::Unreadable(error)))
}

#[cfg(test)]
mod tests;
