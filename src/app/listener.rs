//! One listener: where, with which TLS, and who may connect.
//!
//! Nobody is let in from another machine without a password or a certificate unless the
//! configuration says so in words.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::config_file::{self, AskClients, Source};
use super::failure::Failure;
use crate::net::listen::Address;
use crate::net::tls::{ClientCertificate, Files};

/// A listener of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: Address,
    /// Its TLS, or none.
    pub tls: Option<ListenerTls>,
    /// Whether clients without a User Name may connect.
    pub anonymous: bool,
    /// Users.
    pub password_file: Option<PathBuf>,
    /// Whether the Common Name of the client certificate is the user.
    pub common_name_as_user: bool,
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Certificate and key that the user has; `None`: those that the broker makes.
    pub own: Option<(PathBuf, PathBuf)>,
    /// Certificates of clients.
    pub client: ClientCertificate,
}

impl ListenerTls {
    /// Whether the broker makes the certificate.
    pub fn is_made(&self) -> bool {
        self.own.is_none()
    }

    /// The files to load; `certs` is the directory of the made ones.
    pub fn files(&self, certs: &Path) -> Files {
        let (certificate, key) = self
            .own
            .clone()
            .unwrap_or_else(|| (certs.join("server.crt"), certs.join("server.key")));
        Files { certificate, key, client: self.client.clone() }
    }

    /// Whether a client without a certificate gets no further than the handshake.
    pub fn requires_certificate(&self) -> bool {
        matches!(self.client, ClientCertificate::Required(_))
    }
}

impl Listener {
    /// One of the usual listeners.
    pub fn on_loopback(port: u16, tls: bool, password_file: Option<PathBuf>) -> Self {
        Self::plain(Address::Loopback(port), tls, password_file)
    }

    fn plain(address: Address, tls: bool, password_file: Option<PathBuf>) -> Self {
        let tls = tls.then_some(ListenerTls { own: None, client: ClientCertificate::None });
        let anonymous = password_file.is_none();
        Self { address, tls, anonymous, password_file, common_name_as_user: false }
    }

    /// A listener of the command line.
    pub fn from_flag(
        flag: &str,
        address: &Address,
        tls: bool,
        password_file: Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let listener = Self::plain(address.clone(), tls, password_file);
        if listener.anonymous && !address.is_loopback() {
            return Err(Failure::given(format_args!(
                "{flag} {address}: other machines could connect without a password; use a config \
                 file (-c FILE) with [auth] password_file, or with a [[listener]] that says \
                 anonymous = true"
            )));
        }
        Ok(listener)
    }

    /// A listener of the file; `users` is the password file of all listeners.
    pub fn from_file(
        written: &config_file::Listener,
        source: Source<'_>,
        users: Option<PathBuf>,
        base: &Path,
    ) -> Result<Self, Failure> {
        let tls = tls(written, source, base)?;
        let own_users = written.password_file.as_ref().map(|path| base.join(path));
        let common_name_as_user = common_name_as_user(written, source, tls.as_ref())?;
        let password_file = own_users.or(users);
        let named = password_file.is_some() || common_name_as_user;
        let said = written.anonymous.as_ref().map(|anonymous| *anonymous.get_ref());
        let listener = Self {
            address: written.address.get_ref().clone(),
            anonymous: said.unwrap_or(!named),
            password_file,
            common_name_as_user,
            tls,
        };
        listener.judge_access(written, source, said.is_some(), named)?;
        Ok(listener)
    }

    fn judge_access(
        &self,
        written: &config_file::Listener,
        source: Source<'_>,
        said: bool,
        named: bool,
    ) -> Result<(), Failure> {
        let certain = self.tls.as_ref().is_some_and(ListenerTls::requires_certificate);
        if self.anonymous && !said && !certain && !self.address.is_loopback() {
            let wrong = format!(
                "other machines could connect to {} without a password; add password_file or \
                 client_certificate = \"required\", or say anonymous = true",
                self.address
            );
            return Err(source.wrong(written.address.span(), &wrong));
        }
        match &written.anonymous {
            Some(anonymous) if !self.anonymous && !named => Err(source.wrong(
                anonymous.span(),
                "nobody could connect; add password_file, or common_name_as_user = true with \
                 client certificates",
            )),
            _ => Ok(()),
        }
    }
}

fn tls(
    written: &config_file::Listener,
    source: Source<'_>,
    base: &Path,
) -> Result<Option<ListenerTls>, Failure> {
    if !written.tls {
        return match needs_tls(written) {
            Some(place) => Err(source.wrong(place, "needs tls = true in the same listener")),
            None => Ok(None),
        };
    }
    let own = match (&written.certificate, &written.key) {
        (Some(certificate), Some(key)) => {
            Some((base.join(certificate.get_ref()), base.join(key.get_ref())))
        }
        (Some(alone), None) => {
            return Err(source.wrong(alone.span(), "needs the key that belongs to it, too"));
        }
        (None, Some(alone)) => {
            return Err(source.wrong(alone.span(), "needs the certificate it belongs to, too"));
        }
        (None, None) => None,
    };
    Ok(Some(ListenerTls { own, client: client_certificate(written, source, base)? }))
}

/// The first option that means nothing without TLS.
fn needs_tls(written: &config_file::Listener) -> Option<Range<usize>> {
    let path = |option: &Option<Spanned<PathBuf>>| option.as_ref().map(Spanned::span);
    let asks = written.client_certificate.as_ref();
    let names = written.common_name_as_user.as_ref();
    path(&written.certificate)
        .or_else(|| path(&written.key))
        .or_else(|| path(&written.client_ca))
        .or_else(|| asks.filter(|ask| *ask.get_ref() != AskClients::None).map(Spanned::span))
        .or_else(|| names.filter(|name| *name.get_ref()).map(Spanned::span))
}

fn client_certificate(
    written: &config_file::Listener,
    source: Source<'_>,
    base: &Path,
) -> Result<ClientCertificate, Failure> {
    let ca = written.client_ca.as_ref().map(|path| base.join(path.get_ref()));
    match (&written.client_certificate, &written.client_ca, ca) {
        (Some(ask), _, None) if *ask.get_ref() != AskClients::None => Err(source.wrong(
            ask.span(),
            "needs client_ca, the file of the CAs that sign client certificates",
        )),
        (Some(ask), _, Some(ca)) if *ask.get_ref() == AskClients::Required => {
            Ok(ClientCertificate::Required(ca))
        }
        (Some(ask), _, Some(ca)) if *ask.get_ref() == AskClients::Optional => {
            Ok(ClientCertificate::Optional(ca))
        }
        (None, Some(ca), _) => Err(source
            .wrong(ca.span(), "needs client_certificate = \"required\" or \"optional\" beside it")),
        _ => Ok(ClientCertificate::None),
    }
}

fn common_name_as_user(
    written: &config_file::Listener,
    source: Source<'_>,
    tls: Option<&ListenerTls>,
) -> Result<bool, Failure> {
    let Some(option) = written.common_name_as_user.as_ref().filter(|option| *option.get_ref())
    else {
        return Ok(false);
    };
    match tls.map(|tls| &tls.client) {
        Some(ClientCertificate::Optional(_) | ClientCertificate::Required(_)) => Ok(true),
        _ => Err(source.wrong(
            option.span(),
            "needs client_certificate = \"required\" or \"optional\", and client_ca",
        )),
    }
}
