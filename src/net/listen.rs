//! Addresses that listen: how they are written, and how sockets come of them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::net::{TcpListener, lookup_host};

/// Where to listen, as a user writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A bare port: 127.0.0.1, and ::1 where the machine speaks IPv6.
    Loopback(u16),
    /// `ip:port` or `[ipv6]:port`.
    Exact(SocketAddr),
    /// `name:port`: every address that the name has when the broker starts.
    Name(String, u16),
}

impl Address {
    /// Whether only this machine can reach it. Of names, only `localhost` is taken to be so.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Loopback(_) => true,
            Self::Exact(address) => address.ip().to_canonical().is_loopback(),
            Self::Name(name, _) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    /// The port; 0 lets the system choose one.
    pub fn port(&self) -> u16 {
        match self {
            Self::Loopback(port) | Self::Name(_, port) => *port,
            Self::Exact(address) => address.port(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(port) => write!(f, "{port}"),
            Self::Exact(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// A text that is no [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAddress;

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write ip:port, [ipv6]:port, name:port, or only a port for this machine alone")
    }
}

impl std::error::Error for NoAddress {}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        if let Ok(port) = port(text) {
            return Ok(Self::Loopback(port));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Exact(address));
        }
        let (name, digits) = text.rsplit_once(':').ok_or(NoAddress)?;
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        // A name of digits and dots alone is a mistyped IPv4 address.
        let name_like = name.bytes().all(legal) && name.bytes().any(|b| b.is_ascii_alphabetic());
        if !name_like {
            return Err(NoAddress);
        }
        Ok(Self::Name(name.to_owned(), port(digits)?))
    }
}

/// A port in digits alone: `u16::from_str` would take `+1883`, too.
fn port(text: &str) -> Result<u16, NoAddress> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NoAddress);
    }
    text.parse().map_err(|_| NoAddress)
}

/// Why nothing listens on an address.
#[derive(Debug)]
pub enum BindError {
    /// The name has no address.
    Resolve(Address, io::Error),
    /// The system refuses the socket.
    Bind(SocketAddr, io::Error),
}

/// What [`bind`] gives.
#[derive(Debug)]
pub struct Bound {
    /// The sockets, each with the address that it really has.
    pub sockets: Vec<(TcpListener, SocketAddr)>,
    /// An address that was left out, because the machine has no such address family.
    pub left_out: Option<SocketAddr>,
}

/// Binds every socket of an address. With port 0 a bare port gets the same port on both.
pub async fn bind(address: &Address) -> Result<Bound, BindError> {
    match address {
        Address::Loopback(port) => bind_loopback(*port).await,
        Address::Exact(exact) => bind_each(vec![*exact]).await,
        Address::Name(name, port) => {
            let found = lookup_host((name.as_str(), *port)).await;
            let found = found.map_err(|error| BindError::Resolve(address.clone(), error))?;
            let mut all: Vec<SocketAddr> = found.collect();
            all.sort_unstable();
            all.dedup();
            bind_each(all).await
        }
    }
}

async fn bind_each(addresses: Vec<SocketAddr>) -> Result<Bound, BindError> {
    let mut sockets = Vec::with_capacity(addresses.len());
    for address in addresses {
        sockets.push(bind_one(address).await?);
    }
    Ok(Bound { sockets, left_out: None })
}

async fn bind_loopback(port: u16) -> Result<Bound, BindError> {
    let mut tries = 0;
    loop {
        let first = bind_one(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await?;
        let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), first.1.port());
        tries += 1;
        match bind_one(v6).await {
            Ok(second) => {
                return Ok(Bound { sockets: vec![first, second], left_out: None });
            }
            Err(BindError::Bind(_, error)) if has_no_family(&error) => {
                return Ok(Bound { sockets: vec![first], left_out: Some(v6) });
            }
            // The port that the system chose on 127.0.0.1 may be someone's on ::1.
            Err(_) if port == 0 && tries < 16 => {}
            Err(error) => return Err(error),
        }
    }
}

/// EAFNOSUPPORT (kernel without IPv6) and EADDRNOTAVAIL (IPv6 switched off on the interface).
fn has_no_family(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = if cfg!(target_os = "linux") { 97 } else { 47 };
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

async fn bind_one(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let bound = async {
        let socket = TcpListener::bind(address).await?;
        let real = socket.local_addr()?;
        Ok((socket, real))
    };
    bound.await.map_err(|error| BindError::Bind(address, error))
}

#[cfg(test)]
mod tests;
