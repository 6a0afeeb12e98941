//! From a configuration to all that a server needs: files read, certificates there, sockets bound.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use tracing::{error, info, warn};

use super::config::{Config, Place};
use super::credentials;
use super::failure::Failure;
use super::greeting::{Open, OpenTls};
use super::listener::{Listener, ListenerTls};
use crate::net::certs::{self, CertError, Outcome};
use crate::net::listen::{self, BindError};
use crate::net::tls::{Problem, Reloadable, TlsError};
use crate::server::{self, Access, Server, Setup};

/// Descriptors that are not for connections: the data file, listeners, log, runtime.
const RESERVED_FILES: u64 = 64;

/// All that is ready for [`Server::start`].
pub(super) struct Prepared {
    /// What it is made of.
    pub(super) setup: Setup,
    /// What SIGHUP reads again.
    pub(super) files: Reread,
    /// The listeners, as clients see them.
    pub(super) open: Vec<Open>,
}

/// What of a configuration is read again on SIGHUP.
pub(super) struct Reread {
    config: Config,
    tls: Vec<Arc<Reloadable>>,
    access: Vec<(Listener, Arc<Access>)>,
}

/// So many of the largest packets fit into a reserve that suffices; see `store/space.rs`.
const PACKETS_IN_RESERVE: u64 = 4;

/// Does all that can fail for a reason outside of the store.
pub(super) async fn prepare(config: Config, place: &Place) -> Result<Prepared, Failure> {
    warn_of_small_reserve(&config);
    let max_connections = max_connections(config.max_connections);
    let acl = config.acl_file.as_deref().map(credentials::acl).transpose()?;
    if config.makes_certificates() {
        make_certificates(&config, place)?;
    }
    let mut files = Reread { config, tls: Vec::new(), access: Vec::new() };
    let mut listeners = Vec::new();
    let mut open = Vec::new();
    for listener in &files.config.listeners {
        let tls = listener.tls.as_ref().map(|tls| load_tls(tls, &files.config.certs));
        let tls = tls.transpose()?.map(Arc::new);
        let access = Arc::new(access(listener)?);
        for (socket, address) in bind(listener).await? {
            open.push(as_seen(listener, address));
            let (tls, access) = (tls.clone(), Arc::clone(&access));
            listeners.push(server::Listener { socket, address, tls, access });
        }
        files.tls.extend(tls);
        files.access.push((listener.clone(), access));
    }
    let config = &files.config;
    let setup = Setup {
        settings: config.settings.clone(),
        store: config.store.clone(),
        max_downtime: config.max_downtime,
        listeners,
        outbox_bytes: config.outbox_bytes,
        connect_timeout: config.connect_timeout,
        max_connections,
        acl,
    };
    Ok(Prepared { setup, files, open })
}

fn warn_of_small_reserve(config: &Config) {
    let reserve = config.store.reserve_bytes;
    let packet_size = config.settings.limits.packet_size;
    if reserve > 0 && reserve / PACKETS_IN_RESERVE < packet_size as u64 {
        warn!(
            reserve,
            packet_size,
            "store.reserve is less than four times limits.packet_size: on a full disk, one large \
             message can make the store fail until there is space"
        );
    }
}

fn as_seen(listener: &Listener, address: SocketAddr) -> Open {
    let tls = listener.tls.as_ref().map(|tls| OpenTls {
        made: tls.is_made(),
        certificate_required: tls.requires_certificate(),
    });
    let certain = tls.is_some_and(|tls| tls.certificate_required);
    let anonymous = listener.anonymous || (certain && listener.common_name_as_user);
    info!(%address, tls = tls.is_some(), anonymous = listener.anonymous, "listening");
    Open { address, tls, anonymous }
}

/// As many as there may be open files, after raising that to what the system allows.
fn max_connections(wanted: Option<usize>) -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        warn!(%error, "the open-file limit cannot be raised");
        rlimit::Resource::NOFILE.get_soft().unwrap_or(1024)
    });
    let allowed = usize::try_from(files.saturating_sub(RESERVED_FILES).max(1));
    let allowed = allowed.unwrap_or(usize::MAX);
    match wanted {
        Some(wanted) if wanted > allowed => {
            warn!(
                wanted,
                allowed, "limits.max_connections is above what the open-file limit allows"
            );
            allowed
        }
        Some(wanted) => wanted,
        None => allowed,
    }
}

fn make_certificates(config: &Config, place: &Place) -> Result<(), Failure> {
    let outcome = certs::ensure(&config.certs, &place.host, &config.cert_names, SystemTime::now())
        .map_err(cert_failure)?;
    let directory = config.certs.display();
    match outcome {
        Outcome::Kept => {}
        Outcome::Made => info!(%directory, "made a server certificate"),
        Outcome::Renewed => info!(%directory, "renewed the server certificate"),
    }
    Ok(())
}

fn load_tls(tls: &ListenerTls, directory: &Path) -> Result<Reloadable, Failure> {
    let loaded = Reloadable::load(tls.files(directory)).map_err(tls_failure)?;
    warn_of_expiry(&loaded);
    Ok(loaded)
}

fn warn_of_expiry(tls: &Reloadable) {
    let certificate = &tls.files().certificate;
    if let Ok(Some(days @ 0..30)) = certs::days_left(certificate, SystemTime::now()) {
        warn!(certificate = %certificate.display(), days, "the certificate ends soon: renew it");
    }
}

fn access(listener: &Listener) -> Result<Access, Failure> {
    let passwords = match &listener.password_file {
        None => None,
        Some(file) => {
            let (passwords, problems) = credentials::passwords(file)?;
            problems.iter().for_each(|problem| warn!("{problem}"));
            Some(RwLock::new(passwords))
        }
    };
    let tls = listener.tls.as_ref();
    Ok(Access {
        anonymous: listener.anonymous,
        passwords,
        common_name_as_user: listener.common_name_as_user,
        certificate_required: tls.is_some_and(ListenerTls::requires_certificate),
    })
}

async fn bind(listener: &Listener) -> Result<Vec<(tokio::net::TcpListener, SocketAddr)>, Failure> {
    let tls = listener.tls.is_some();
    let bound = listen::bind(&listener.address).await;
    let bound = bound.map_err(|error| bind_failure(&error, tls))?;
    if let Some(address) = bound.left_out {
        info!(%address, "not listening: this machine has no IPv6");
    }
    Ok(bound.sockets)
}

fn bind_failure(error: &BindError, tls: bool) -> Failure {
    let elsewhere =
        if tls { "--mqtts 127.0.0.1:9883 --mqtt 127.0.0.1:2883" } else { "--mqtt 127.0.0.1:2883" };
    let line = match error {
        BindError::Resolve(address, error) => {
            format!("{address}: the name has no address: {error}")
        }
        BindError::Bind(address, error) => match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "{address}: another program listens there; stop it, or listen elsewhere, as with \
                 {elsewhere}"
            ),
            io::ErrorKind::PermissionDenied => format!(
                "{address}: this user may not listen there; take a port above 1023, as with \
                 {elsewhere}"
            ),
            io::ErrorKind::AddrNotAvailable => {
                format!("{address}: this machine has no such address")
            }
            _ => format!("{address}: cannot listen: {error}"),
        },
    };
    Failure::machine(line)
}

/// A file that TLS cannot use is a person's doing, one that cannot be read may be the machine's.
pub(super) fn tls_failure(error: TlsError) -> Failure {
    match &error.problem {
        Problem::Unreadable(why) => Failure::unreadable(&error.file, why),
        _ => Failure::given(error),
    }
}

pub(super) fn cert_failure(error: CertError) -> Failure {
    match error {
        CertError::Unusable(error) => tls_failure(error),
        CertError::Write(..) => Failure::machine(error),
        other => Failure::given(other),
    }
}

impl Reread {
    /// Reads all files again. What is bad keeps the old, and the log says so.
    pub(super) fn read_again(&self, server: &Server) {
        for tls in &self.tls {
            let file = tls.files().certificate.display();
            match tls.reload() {
                Ok(()) => {
                    info!(%file, "read the certificate again");
                    warn_of_expiry(tls);
                }
                Err(error) => error!("{error}; the old certificate stays"),
            }
        }
        for (listener, access) in &self.access {
            if let Some(file) = &listener.password_file {
                reread_passwords(file, access);
            }
        }
        if let Some(file) = &self.config.acl_file {
            reread_acl(file, server);
        }
    }
}

fn reread_passwords(file: &Path, access: &Access) {
    match credentials::passwords(file) {
        Ok((passwords, problems)) => {
            problems.iter().for_each(|problem| warn!("{problem}"));
            access.set_passwords(passwords);
            info!(file = %file.display(), "read the password file again");
        }
        Err(failure) => error!("{}; the old users stay", failure.line),
    }
}

fn reread_acl(file: &Path, server: &Server) {
    match credentials::acl(file) {
        Ok(acl) => {
            server.set_acl(Some(acl));
            info!(file = %file.display(), "read the ACL file again");
        }
        Err(failure) => error!("{}; the old rights stay", failure.line),
    }
}
