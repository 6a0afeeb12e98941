//! `kedgemq check`: finds what a start would find wrong with what people wrote, without starting.

use std::path::Path;

use super::args::Run;
use super::config::{Config, Place};
use super::failure::Failure;
use super::listener::ListenerTls;
use super::{credentials, print, start};
use crate::net::tls::ClientCertificate;
use crate::net::{certs, tls};

/// Reads the file and all files that it names.
pub(super) fn check(file: &Path, place: &Place) -> Result<(), Failure> {
    let flags = Run { config: Some(file.to_owned()), ..Run::default() };
    let config = Config::load(&flags, place)?;
    certs::check_names(&config.cert_names).map_err(start::cert_failure)?;
    for listener in &config.listeners {
        if let Some(tls) = &listener.tls {
            check_tls(tls, &config.certs)?;
        }
    }
    for users in config.password_files() {
        for problem in credentials::passwords(users)?.1 {
            print(&format!("warning: {problem}\n"));
        }
    }
    if let Some(rights) = &config.acl_file {
        credentials::acl(rights)?;
    }
    print(&format!("{}: no mistakes found\n", place.directory.join(file).display()));
    Ok(())
}

fn check_tls(tls: &ListenerTls, directory: &Path) -> Result<(), Failure> {
    let files = tls.files(directory);
    let to_be_made = tls.is_made() && !files.certificate.exists();
    let checked = match &files.client {
        _ if !to_be_made => tls::load(&files).map(drop),
        ClientCertificate::None => Ok(()),
        ClientCertificate::Optional(ca) | ClientCertificate::Required(ca) => {
            tls::certificates(ca).map(drop)
        }
    };
    checked.map_err(start::tls_failure)
}
