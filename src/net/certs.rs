//! Certificates for development: a CA of our own and a server certificate that it signs.
//!
//! What lies in the directory is used as it is and never written over, except for a server
//! certificate that we made from the CA whose key we hold: that is renewed in time. Every file
//! appears whole or not at all, so a start that was cut off is taken up by the next.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::tls::{self, TlsError};

/// The organisation in the subject of what is made here: by it a renewal knows its own work.
pub(crate) const ORGANISATION: &str = "KedgeMQ development";

const DAY: Duration = Duration::from_secs(24 * 3600);
const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
const SERVER_LIFE: Duration = Duration::from_secs(5 * 365 * 24 * 3600);
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);
/// 2026-01-01: a clock that shows less is not set yet, and no life is counted from it.
const CLOCK_IS_SET: Duration = Duration::from_secs(1_767_225_600);

/// The four files of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The CA's certificate: what clients trust.
    pub ca: PathBuf,
    /// The CA's key.
    pub ca_key: PathBuf,
    /// The server's certificate.
    pub server: PathBuf,
    /// The server's key.
    pub server_key: PathBuf,
}

impl Paths {
    /// `ca.crt`, `ca.key`, `server.crt` and `server.key`.
    pub fn within(directory: &Path) -> Self {
        let file = |name| directory.join(name);
        Self {
            ca: file("ca.crt"),
            ca_key: file("ca.key"),
            server: file("server.crt"),
            server_key: file("server.key"),
        }
    }
}

/// What [`ensure`] did with the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there.
    Kept,
    /// It was made.
    Made,
    /// It was ours and made anew: it would have expired, or lacked a name.
    Renewed,
}

/// Why there are no certificates.
#[derive(Debug)]
pub enum CertError {
    /// A file cannot be read or is no certificate.
    Unusable(TlsError),
    /// A file cannot be written.
    Write(PathBuf, io::Error),
    /// What is there is not enough, and to add to it would be a guess: what is missing, and what
    /// to do.
    Incomplete(PathBuf, String),
    /// A name cannot stand in a certificate.
    Name(String),
    /// The making itself fails.
    Make(PathBuf, rcgen::Error),
}

impl fmt::Display for CertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(error) => error.fmt(f),
            Self::Write(file, error) => {
                write!(f, "{}: cannot be written: {error}", file.display())
            }
            Self::Incomplete(file, what) => write!(f, "{}: {what}", file.display()),
            Self::Name(name) => {
                write!(
                    f,
                    "{name:?} cannot be a name of a certificate: write a host name or an IP \
                           address"
                )
            }
            Self::Make(file, error) => write!(f, "{}: cannot be made: {error}", file.display()),
        }
    }
}

impl std::error::Error for CertError {}

/// Sees to it that the directory has a server certificate for `localhost`, 127.0.0.1, ::1, the
/// host name, the host name with `.local`, and `more`. Keys are readable for their owner alone.
pub fn ensure(
    directory: &Path,
    host: &str,
    more: &[String],
    now: SystemTime,
) -> Result<Outcome, CertError> {
    let paths = Paths::within(directory);
    let names = names(host, more)?;
    match (exists(&paths.server), exists(&paths.server_key)) {
        (true, true) => renew(&paths, &names, now),
        (true, false) => Err(CertError::Incomplete(
            paths.server_key.clone(),
            format!(
                "is missing, but {} is there: put its key beside it, or move it away to have \
                 both made",
                paths.server.display()
            ),
        )),
        (false, _) => {
            fs::create_dir_all(directory)
                .map_err(|error| CertError::Write(directory.to_owned(), error))?;
            let issuer = issuer(&paths, now)?;
            let key = key(&paths.server_key)?;
            let certificate = server(&paths, &names, &key, &issuer, now)?;
            write_new(&paths.server, certificate.as_bytes(), 0o644)?;
            Ok(Outcome::Made)
        }
    }
}

/// When a certificate expires; `None` is after all time that can be counted.
pub(crate) fn expiry(file: &Path) -> Result<Option<SystemTime>, TlsError> {
    let der = first(file)?;
    Ok(not_after(&parsed(&der, file)?))
}

/// Whole days until a certificate expires, 0 when it has; `None` for all time.
pub(crate) fn days_left(file: &Path, now: SystemTime) -> Result<Option<u64>, TlsError> {
    let left = |end: SystemTime| end.duration_since(now).unwrap_or_default();
    Ok(expiry(file)?.map(|end| left(end).as_secs() / DAY.as_secs()))
}

/// Whether each can be a name of a certificate.
pub(crate) fn check_names(more: &[String]) -> Result<(), CertError> {
    names("localhost", more).map(drop)
}

/// The names of a server certificate, in order.
fn names(host: &str, more: &[String]) -> Result<BTreeSet<String>, CertError> {
    let mut names: BTreeSet<String> =
        ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned).collect();
    // A host name is the machine's, not the user's: one that cannot stand there is left out.
    if is_name(host) && host != "localhost" {
        names.insert(host.to_owned());
        if !host.ends_with(".local") {
            names.insert(format!("{host}.local"));
        }
    }
    for name in more {
        match name.parse::<IpAddr>() {
            Ok(ip) => names.insert(ip.to_string()),
            Err(_) if is_name(name) => names.insert(name.clone()),
            Err(_) => return Err(CertError::Name(name.clone())),
        };
    }
    Ok(names)
}

fn is_name(name: &str) -> bool {
    let bare = name.strip_prefix("*.").unwrap_or(name);
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    bare.len() <= 253
        && bare
            .split('.')
            .all(|label| !label.is_empty() && label.len() <= 63 && label.bytes().all(legal))
}

/// Makes our own certificate anew when it ends soon or lacks a name. What is not ours is left
/// alone, and so is ours when the CA's key is not here.
fn renew(paths: &Paths, names: &BTreeSet<String>, now: SystemTime) -> Result<Outcome, CertError> {
    if !exists(&paths.ca) || !exists(&paths.ca_key) {
        return Ok(Outcome::Kept);
    }
    let ca = first(&paths.ca).map_err(CertError::Unusable)?;
    let ca = parsed(&ca, &paths.ca).map_err(CertError::Unusable)?;
    let old = first(&paths.server).map_err(CertError::Unusable)?;
    let old = parsed(&old, &paths.server).map_err(CertError::Unusable)?;
    let mut organisations = old.subject().iter_organization();
    let ours = organisations.any(|name| name.as_str() == Ok(ORGANISATION))
        && old.issuer().as_raw() == ca.subject().as_raw();
    if !ours {
        return Ok(Outcome::Kept);
    }
    let ends_soon = not_after(&old).is_some_and(|end| end < now + RENEW_BEFORE);
    // Renewed under an ending CA it would end no later.
    let helps = not_after(&ca) != not_after(&old);
    if !(ends_soon && helps) && names.is_subset(&names_of(&old)) {
        return Ok(Outcome::Kept);
    }
    let issuer = issuer(paths, now)?;
    let all: BTreeSet<String> = names.union(&names_of(&old)).cloned().collect();
    let certificate = server(paths, &all, &key(&paths.server_key)?, &issuer, now)?;
    replace(&paths.server, certificate.as_bytes())?;
    Ok(Outcome::Renewed)
}

/// The CA, made when nothing of it is there.
fn issuer(paths: &Paths, now: SystemTime) -> Result<Issuer<'static, KeyPair>, CertError> {
    if exists(&paths.ca) && !exists(&paths.ca_key) {
        return Err(CertError::Incomplete(
            paths.ca_key.clone(),
            format!(
                "is missing, but {} is there: put its key beside it, or a server certificate and \
                 its key",
                paths.ca.display()
            ),
        ));
    }
    let ca_key = key(&paths.ca_key)?;
    if !exists(&paths.ca) {
        let certificate =
            ca(&ca_key, now).map_err(|error| CertError::Make(paths.ca.clone(), error))?;
        write_new(&paths.ca, certificate.as_bytes(), 0o644)?;
    }
    let der = first(&paths.ca).map_err(CertError::Unusable)?;
    let public = ca_key.public_key_raw().to_vec();
    let same = parsed(&der, &paths.ca)
        .map_err(CertError::Unusable)?
        .public_key()
        .subject_public_key
        .data
        .as_ref()
        == public;
    if !same {
        return Err(CertError::Incomplete(
            paths.ca_key.clone(),
            format!("is not the key of {}: put that one there", paths.ca.display()),
        ));
    }
    Issuer::from_ca_cert_der(&der, ca_key)
        .map_err(|error| CertError::Make(paths.server.clone(), error))
}

/// The PEM text of a CA that signs with this key.
fn ca(key: &KeyPair, now: SystemTime) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    // Two gateways' CAs must not share a name, or a client that trusts both mixes them up.
    let mark = &hex(key.public_key_raw())[2..10];
    params.distinguished_name = subject(&format!("KedgeMQ development CA {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial(now));
    params.not_before = UNIX_EPOCH.into();
    params.not_after = (counted(now) + CA_LIFE).into();
    Ok(params.self_signed(key)?.pem())
}

/// The PEM text of a server certificate. It ends no later than its CA.
fn server(
    paths: &Paths,
    names: &BTreeSet<String>,
    key: &KeyPair,
    issuer: &Issuer<'static, KeyPair>,
    now: SystemTime,
) -> Result<String, CertError> {
    let make = |error| CertError::Make(paths.server.clone(), error);
    let all: Vec<String> = names.iter().cloned().collect();
    let mut params = CertificateParams::new(all).map_err(make)?;
    params.distinguished_name = subject("KedgeMQ server");
    // Written out, so that the certificate gets a Subject Key Identifier, too.
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.serial_number = Some(serial(now));
    params.not_before = UNIX_EPOCH.into();
    let ca_ends = expiry(&paths.ca).map_err(CertError::Unusable)?;
    let end = counted(now) + SERVER_LIFE;
    params.not_after = ca_ends.map_or(end, |ca_ends| end.min(ca_ends)).into();
    Ok(params.signed_by(key, issuer).map_err(make)?.pem())
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANISATION);
    name.push(DnType::CommonName, common_name);
    name
}

/// The time from which lives are counted.
fn counted(now: SystemTime) -> SystemTime {
    now.max(UNIX_EPOCH + CLOCK_IS_SET)
}

/// Two certificates of one CA need different serial numbers, though the key may be the same.
fn serial(now: SystemTime) -> SerialNumber {
    let nanos = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut bytes = nanos.to_be_bytes()[4..].to_vec();
    bytes.extend(fastrand::u32(..).to_be_bytes());
    bytes[0] = bytes[0] & 0x7f | 0x40; // positive, and of full length
    SerialNumber::from(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key of a file; it is made when it is not there.
fn key(file: &Path) -> Result<KeyPair, CertError> {
    let make = |error| CertError::Make(file.to_owned(), error);
    if !exists(file) {
        let new = KeyPair::generate().map_err(make)?;
        write_new(file, new.serialize_pem().as_bytes(), 0o600)?;
    }
    // Read back, since another start may have been the first to write it.
    let text = fs::read_to_string(file).map_err(|error| unreadable(file, error))?;
    KeyPair::from_pem(&text).map_err(|error| {
        let problem = tls::Problem::Unusable(format!("no key that can sign: {error}"));
        CertError::Unusable(TlsError { file: file.to_owned(), problem })
    })
}

fn unreadable(file: &Path, error: io::Error) -> CertError {
    let problem = tls::Problem::Unreadable(error);
    CertError::Unusable(TlsError { file: file.to_owned(), problem })
}

fn first(file: &Path) -> Result<CertificateDer<'static>, TlsError> {
    let chain = tls::certificates(file)?;
    Ok(chain.into_iter().next().expect("a chain has at least one certificate"))
}

fn parsed<'a>(der: &'a CertificateDer<'_>, file: &Path) -> Result<X509Certificate<'a>, TlsError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => {
            let problem = tls::Problem::Unusable(error.to_string());
            Err(TlsError { file: file.to_owned(), problem })
        }
    }
}

fn not_after(certificate: &X509Certificate<'_>) -> Option<SystemTime> {
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn names_of(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return BTreeSet::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|ip| IpAddr::from(ip).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|ip| IpAddr::from(ip).to_string()),
        },
        _ => None,
    };
    names.value.general_names.iter().filter_map(text).collect()
}

fn exists(file: &Path) -> bool {
    fs::symlink_metadata(file).is_ok()
}

/// Writes a file that is not there yet; one that came meanwhile stays.
fn write_new(file: &Path, text: &[u8], mode: u32) -> Result<(), CertError> {
    let part = write_part(file, text, mode)?;
    let linked = fs::hard_link(&part, file);
    let removed = fs::remove_file(&part);
    match linked {
        Ok(()) => removed,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => removed,
        // A file system without links.
        Err(_) => OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(file)
            .and_then(|mut new| new.write_all(text).and_then(|()| new.sync_all())),
    }
    .map_err(|error| CertError::Write(file.to_owned(), error))
}

fn replace(file: &Path, text: &[u8]) -> Result<(), CertError> {
    let part = write_part(file, text, 0o644)?;
    fs::rename(&part, file).map_err(|error| CertError::Write(file.to_owned(), error))
}

/// Writes the text beside the file, under a name of its own.
fn write_part(file: &Path, text: &[u8], mode: u32) -> Result<PathBuf, CertError> {
    let mut part = file.as_os_str().to_owned();
    part.push(format!(".{}-{:08x}.part", std::process::id(), fastrand::u32(..)));
    let part = PathBuf::from(part);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&part)
        .and_then(|mut new| new.write_all(text).and_then(|()| new.sync_all()));
    written.map_err(|error| CertError::Write(file.to_owned(), error))?;
    Ok(part)
}

#[cfg(test)]
mod tests;
