//! What a server is made of, with the defaults of the `kedgemq` command.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::auth::acl::Acl;
use crate::auth::password::Passwords;
use crate::config::Settings;
use crate::net::tls::Reloadable;
use crate::store;

/// What a server is made of: [`Setup::new`], changed where its defaults do not fit.
#[derive(Debug)]
#[non_exhaustive]
pub struct Setup {
    /// Limits and switches of the core.
    pub settings: Settings,
    /// Where and how sessions are stored.
    pub store: store::Options,
    /// A longer downtime counts as none: the clock is not trusted then.
    pub max_downtime: Duration,
    /// Bound sockets.
    pub listeners: Vec<Listener>,
    /// Bytes that may wait for one client; above, QoS 0 is dropped and QoS > 0 stays queued.
    pub outbox_bytes: usize,
    /// For the TLS handshake, and again for the CONNECT.
    pub connect_timeout: Duration,
    /// Connections at once; one more is closed at once.
    pub max_connections: usize,
    /// Rights; `None` allows all.
    pub acl: Option<Acl>,
}

impl Setup {
    /// The defaults of the `kedgemq` command, without a listener, with the data file in the
    /// directory `data`: both are made when they are not there. The node has the machine's name.
    ///
    /// `max_connections` is not limited here: a connection takes one file descriptor of the
    /// process, which may want to keep some for itself.
    pub fn new(data: impl AsRef<Path>) -> Self {
        let node = gethostname::gethostname().to_string_lossy().into_owned();
        let mut store = store::Options::in_directory(data.as_ref());
        store.reserve_bytes = 8 * 1024 * 1024;
        Self {
            settings: Settings { node, ..Settings::default() },
            store,
            max_downtime: Duration::from_secs(7 * 24 * 3600),
            listeners: Vec::new(),
            outbox_bytes: 1024 * 1024,
            connect_timeout: Duration::from_secs(10),
            max_connections: usize::MAX,
            acl: None,
        }
    }
}

/// A bound socket and who may connect to it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Where it listens, with the real port.
    pub address: SocketAddr,
    /// Its TLS, or none.
    pub tls: Option<Arc<Reloadable>>,
    /// Who may connect.
    pub access: Arc<Access>,
}

impl Listener {
    /// MQTT in the clear, for everybody who reaches the socket.
    ///
    /// # Errors
    /// When the system does not tell the socket's address.
    pub fn plain(socket: TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self { socket, address, tls: None, access: Arc::new(Access::anonymous()) })
    }

    /// MQTT over TLS, for everybody who reaches the socket and has a certificate, if `tls` asks
    /// for one. With certificates that are made here:
    ///
    /// ```no_run
    /// # async fn tls() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    /// use std::time::SystemTime;
    ///
    /// use kedgemq::net::certs::{self, Paths};
    /// use kedgemq::net::tls::{ClientCertificate, Files, Reloadable};
    /// use kedgemq::server::Listener;
    ///
    /// let directory = std::path::Path::new("certs");
    /// certs::ensure(directory, "meter-17", &[], SystemTime::now())?;
    /// let Paths { server, server_key, .. } = Paths::within(directory); // Clients trust `ca`.
    /// let client = ClientCertificate::None;
    /// let tls = Reloadable::load(Files { certificate: server, key: server_key, client })?;
    /// let socket = tokio::net::TcpListener::bind("127.0.0.1:8883").await?;
    /// let listener = Listener::tls(socket, Arc::new(tls))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the system does not tell the socket's address.
    pub fn tls(socket: TcpListener, tls: Arc<Reloadable>) -> io::Result<Self> {
        Ok(Self { tls: Some(tls), ..Self::plain(socket)? })
    }
}

/// Who may connect to a listener.
///
/// Users of a password file, as `kedgemq passwd` and `mosquitto_passwd` write it, and nobody else:
///
/// ```no_run
/// # async fn users() -> std::io::Result<()> {
/// use std::sync::{Arc, RwLock};
///
/// use kedgemq::auth::Passwords;
/// use kedgemq::server::{Access, Listener};
///
/// let (passwords, bad_lines) = Passwords::parse(&std::fs::read_to_string("passwords")?);
/// bad_lines.iter().for_each(|bad| eprintln!("passwords: {bad}"));
/// let mut access = Access::anonymous();
/// access.anonymous = false;
/// access.passwords = Some(RwLock::new(Arc::new(passwords)));
///
/// let socket = tokio::net::TcpListener::bind("0.0.0.0:1883").await?;
/// let mut listener = Listener::plain(socket)?;
/// listener.access = Arc::new(access);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Access {
    /// Whether clients without a User Name may.
    pub anonymous: bool,
    /// Users and their passwords. Without, a User Name is taken as it is, from those who are
    /// admitted without one, as mosquitto does.
    pub passwords: Option<RwLock<Arc<Passwords>>>,
    /// Whether the Common Name of the client certificate is the user, in place of a password.
    pub common_name_as_user: bool,
    /// Whether TLS lets only clients with a good certificate through: that admits them.
    pub certificate_required: bool,
}

impl Access {
    /// Everybody.
    pub fn anonymous() -> Self {
        Self {
            anonymous: true,
            passwords: None,
            common_name_as_user: false,
            certificate_required: false,
        }
    }

    /// Takes another password file, for the next CONNECT. Nothing happens without an old one.
    pub fn set_passwords(&self, passwords: Arc<Passwords>) {
        if let Some(current) = &self.passwords {
            *current.write().unwrap_or_else(PoisonError::into_inner) = passwords;
        }
    }
}
