//! What a start prints to stdout: lines to paste into another terminal, for the listeners that
//! are really open.

use std::net::SocketAddr;
use std::path::Path;

/// An open listener, as far as a client has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Where, with the real port.
    pub address: SocketAddr,
    /// TLS, or none.
    pub tls: Option<OpenTls>,
    /// Whether a client needs no User Name and password.
    pub anonymous: bool,
}

/// TLS of an open listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenTls {
    /// Whether its certificate is signed by the made CA.
    pub made: bool,
    /// Whether a client has to show a certificate.
    pub certificate_required: bool,
}

/// The text. `ca` is the made CA's certificate; it is shown from `directory`, where that is
/// shorter.
pub fn text(listeners: &[Open], ca: &Path, directory: &Path) -> String {
    let Some(best) = listeners.iter().min_by_key(|open| effort(open)) else {
        return String::new();
    };
    let to = arguments(best, ca.strip_prefix(directory).unwrap_or(ca));
    let blanks = if effort(best) < Effort::FillIn {
        ""
    } else {
        "(Put your own in place of the words in capitals.)\n"
    };
    format!(
        "KedgeMQ {version} is ready. To see it work, paste into another terminal:\n\
         \n\
         mosquitto_sub {to} -t 'hello/#' -q 1 -v\n\
         \n\
         and into a third one:\n\
         \n\
         mosquitto_pub {to} -t hello/world -q 1 -m 'Hello, world'\n\
         \n\
         A dead letter: a message that expires while the session it is for is away.\n\
         \n\
         mosquitto_sub {to} -V 5 -q 1 -t '$dead/#' -F '%t: %p (%P)' &\n\
         mosquitto_sub {to} -i demo -c -q 1 -t demo -E\n\
         mosquitto_pub {to} -V 5 -q 1 -t demo -m hi -D publish message-expiry-interval 1\n\
         \n\
         {blanks}",
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// How much a user must do before the lines work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effort {
    Secure,
    Plain,
    FillIn,
}

fn effort(open: &Open) -> Effort {
    match open.tls {
        _ if !open.anonymous => Effort::FillIn,
        None => Effort::Plain,
        Some(OpenTls { made: true, certificate_required: false }) => Effort::Secure,
        Some(_) => Effort::FillIn,
    }
}

fn arguments(open: &Open, ca: &Path) -> String {
    let mut all = Vec::new();
    if let Some(tls) = open.tls {
        let ca = if tls.made { quoted(&ca.display().to_string()) } else { "CA.crt".to_owned() };
        all.push(format!("--cafile {ca}"));
        if tls.certificate_required {
            all.push("--cert CLIENT.crt --key CLIENT.key".to_owned());
        }
    }
    if !open.anonymous {
        all.push("-u USER -P PASSWORD".to_owned());
    }
    all.push(format!("-h {} -p {}", host(open.address), open.address.port()));
    all.join(" ")
}

/// A name under which this machine reaches the listener, and which the made certificate has.
fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_loopback() => "::1".to_owned(),
        other if other.ip().is_loopback() || other.ip().is_unspecified() => "localhost".to_owned(),
        other => other.ip().to_string(),
    }
}

/// As a shell reads it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%:".contains(c);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(address: &str, tls: Option<OpenTls>, anonymous: bool) -> Open {
        Open { address: address.parse().unwrap(), tls, anonymous }
    }

    const MADE: Option<OpenTls> = Some(OpenTls { made: true, certificate_required: false });

    #[test]
    fn the_easiest_secure_listener_is_shown() {
        let table = [
            (
                vec![open("127.0.0.1:1883", None, true), open("127.0.0.1:8883", MADE, true)],
                "mosquitto_sub --cafile certs/ca.crt -h localhost -p 8883 -t 'hello/#' -q 1 -v",
            ),
            (
                vec![open("127.0.0.1:1883", None, true), open("0.0.0.0:8883", MADE, false)],
                "mosquitto_sub -h localhost -p 1883 -t 'hello/#' -q 1 -v",
            ),
            (
                vec![open("192.0.2.1:8883", MADE, false)],
                "mosquitto_sub --cafile certs/ca.crt -u USER -P PASSWORD -h 192.0.2.1 -p 8883 -t \
                 'hello/#' -q 1 -v",
            ),
            (
                vec![open(
                    "[::1]:8883",
                    Some(OpenTls { made: false, certificate_required: true }),
                    true,
                )],
                "mosquitto_sub --cafile CA.crt --cert CLIENT.crt --key CLIENT.key -h ::1 -p 8883 \
                 -t 'hello/#' -q 1 -v",
            ),
        ];
        for (listeners, line) in table {
            let text = text(&listeners, Path::new("/home/me/certs/ca.crt"), Path::new("/home/me"));
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
            assert_eq!(text.contains("in capitals"), line.contains("USER") || line.contains("CA."));
        }
    }

    #[test]
    fn a_path_that_a_shell_would_split_is_quoted() {
        let listeners = [open("127.0.0.1:8883", MADE, true)];
        let text = text(&listeners, Path::new("/my dir/it's/ca.crt"), Path::new("/else"));
        assert!(text.contains("--cafile '/my dir/it'\\''s/ca.crt' -h"), "{text}");
    }
}
