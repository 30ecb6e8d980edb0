//! TLS on the listeners, with certificates that are replaced while they serve.
//!
//! The files are looked at once a second, which needs nothing of the file system and finds a replaced link as well as a
//! rewritten file. A pair that cannot be used, as when only one of the two files was replaced yet, changes nothing: the
//! one before serves on. Open connections keep what they were opened with.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// HTTP/2 where the client can, as ALPN names them (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where the certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate, then those that lead to one that clients trust.
    pub certificate: PathBuf,
    /// PEM: its private key, as PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// Why a pair of files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate cannot be read.
    #[error(
        "cannot read a certificate from {path}: {cause}; it must be PEM, the server's own first and its chain behind it"
    )]
    Certificate {
        /// The file.
        path: String,
        /// What is wrong.
        cause: String,
    },
    /// The key cannot be read.
    #[error(
        "cannot read a private key from {path}: {cause}; it must be PEM, PKCS#8, PKCS#1 or SEC1, without a passphrase"
    )]
    Key {
        /// The file.
        path: String,
        /// What is wrong.
        cause: String,
    },
    /// They do not belong together, or are of a kind that is not supported.
    #[error(
        "{certificate} and {key} cannot be used together: {cause}; the key must be that of the first certificate"
    )]
    Pair {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
        /// What is wrong.
        cause: String,
    },
}

/// The certificate that listeners serve. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    /// Of the files that `config` was made of at first.
    opened: Stamp,
    config: ArcSwap<ServerConfig>,
    watched: AtomicBool,
}

/// What tells that a file was changed.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Each names the file and the rule.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        // Before they are read: one that is replaced meanwhile is read again.
        let opened = stamp(&files);
        let config = ArcSwap::new(Arc::new(read(&files)?));
        Ok(Self(Arc::new(Shared { files, opened, config, watched: AtomicBool::new(false) })))
    }

    /// Follows the files from now on, until the last clone is dropped. Must be called within a tokio runtime; only the
    /// first call does something.
    pub(crate) fn follow(&self) {
        if !self.0.watched.swap(true, Ordering::Relaxed) {
            tokio::spawn(follow(Arc::downgrade(&self.0), self.0.opened));
        }
    }

    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.0.config.load_full()).accept(stream).await
    }
}

/// Shows the files, not what is in them.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.0.files).finish()
    }
}

async fn follow(shared: Weak<Shared>, mut before: Stamp) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        let looked = tokio::task::spawn_blocking(move || {
            let now = stamp(&shared.files);
            if now != before {
                reload(&shared);
            }
            now
        });
        match looked.await {
            Ok(now) => before = now,
            Err(error) => {
                tracing::error!(%error, "the certificate could not be looked at; please report this")
            }
        }
    }
}

fn reload(shared: &Shared) {
    let outcome = match read(&shared.files) {
        Ok(config) => {
            shared.config.store(Arc::new(config));
            tracing::info!(certificate = %shared.files.certificate.display(), "a new certificate serves");
            "served"
        }
        Err(error) => {
            tracing::warn!(%error, "the new certificate is not used; the one before serves on");
            "refused"
        }
    };
    metrics::counter!("sawpit_tls_reloads_total", "outcome" => outcome).increment(1);
}

fn stamp(files: &TlsFiles) -> Stamp {
    let of = |path: &Path| {
        let facts = std::fs::metadata(path).ok()?;
        Some((facts.modified().ok()?, facts.len()))
    };
    [of(&files.certificate), of(&files.key)]
}

fn read(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| TlsError::Key { path: shown(&files.key), cause: said(&error) })?;
    let pair = |error: tokio_rustls::rustls::Error| TlsError::Pair {
        certificate: shown(&files.certificate),
        key: shown(&files.key),
        cause: error.to_string(),
    };
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(pair)?;
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |cause: String| TlsError::Certificate { path: shown(path), cause };
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(chain) if chain.is_empty() => Err(failed("there is none in it".to_owned())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(failed(said(&error))),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Never a part of the file: it may be the key.
fn said(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is none in it".to_owned(),
        _ => "it is not well-formed PEM".to_owned(),
    }
}
