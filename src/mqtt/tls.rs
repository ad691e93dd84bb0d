//! TLS towards the broker: from files to a configuration, with errors that name the file.
//!
//! Must never switch verification off, and never show what a key file holds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Where the common distributions keep the certification authorities that the world trusts: used
/// when no file of our own is configured.
pub const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Files for TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFiles {
    /// Certification authorities (PEM); none: [`SYSTEM_AUTHORITIES`].
    pub authorities: Option<PathBuf>,
    /// Our own certificate and its key (PEM), where the broker asks for them.
    pub client: Option<ClientFiles>,
}

/// Our own certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the file {} cannot be read", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("the file {} is no PEM file", .0.display())]
    Pem(PathBuf, #[source] pem::Error),
    #[error("the file {} holds no certificate (`BEGIN CERTIFICATE`)", .0.display())]
    NoCertificate(PathBuf),
    #[error("the file {} holds no usable certificate", .0.display())]
    BadCertificate(PathBuf, #[source] rustls::Error),
    #[error("the file {} holds no private key without a passphrase (`BEGIN PRIVATE KEY`)", .0.display())]
    NoKey(PathBuf),
    #[error("the certificate {} and the key {} cannot be used", .0.certificate.display(), .0.key.display())]
    Client(ClientFiles, #[source] rustls::Error),
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// Reads the files; they are read again for each connection, so that renewed certificates are used.
pub fn client_config(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let authorities = files.authorities.as_deref().unwrap_or_else(|| Path::new(SYSTEM_AUTHORITIES));
    let builder = builder.with_root_certificates(roots(authorities)?);
    let config = match &files.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let chain = certificates(&client.certificate)?;
            let key = private_key(&client.key)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| TlsError::Client(client.clone(), error))?
        }
    };
    Ok(config)
}

/// One authority that this library cannot use does not cost the others: system bundles have some.
fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let mut last_error = None;
    for certificate in certificates(path)? {
        if let Err(error) = roots.add(certificate) {
            last_error = Some(error);
        }
    }
    match last_error {
        Some(error) if roots.is_empty() => Err(TlsError::BadCertificate(path.to_owned(), error)),
        _ => Ok(roots),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let octets = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&octets)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Pem(path.to_owned(), error))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate(path.to_owned()));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let octets = zeroize::Zeroizing::new(read(path)?);
    PrivateKeyDer::from_pem_slice(&octets).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey(path.to_owned()),
        error => TlsError::Pem(path.to_owned(), error),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::Read(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(authorities: PathBuf) -> TlsError {
        let files = TlsFiles { authorities: Some(authorities), client: None };
        client_config(&files).map(|_| ()).unwrap_err()
    }

    #[test]
    fn every_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let broken = "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n";
        let missing = folder.path().join("missing.pem");
        assert!(matches!(refused(missing.clone()), TlsError::Read(path, _) if path == missing));
        assert!(matches!(refused(path("empty.pem", "")), TlsError::NoCertificate(_)));
        assert!(matches!(refused(path("broken.pem", broken)), TlsError::Pem(..)));
        assert!(matches!(refused(path("garbage.pem", garbage)), TlsError::BadCertificate(..)));
        let shown = refused(path("named.pem", "nothing")).to_string();
        assert!(shown.contains("named.pem"), "{shown}");
    }

    #[test]
    fn a_key_file_without_a_key_is_said_so_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("client.key");
        fs::write(
            &key,
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n",
        )
        .unwrap();
        let error = private_key(&key).unwrap_err();
        assert!(matches!(error, TlsError::NoKey(_)), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("c2VjcmV0"));
    }
}
