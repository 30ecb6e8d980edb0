//! HTTP clients: one place says whom they trust.
//!
//! The certificates of the system are read only for who asks by TLS: an image may have none, and reading them takes as
//! long as many requests.

use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, blocking};
use tokio_rustls::rustls::crypto::ring;

/// Whom a client believes that a server is who it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// No one: it asks in the clear.
    Nobody,
    /// Who the system trusts; `SSL_CERT_FILE` may name another list.
    System,
    /// Those of a PEM file, and no others.
    Only(PathBuf),
}

/// Why there is nobody to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of certificates cannot be read.
    #[error("cannot read {path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: std::io::Error,
    },
    /// There is no certificate in it.
    #[error(
        "{path} has no certificate; it must be PEM, of the authority that signed the server's certificate"
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Trust {
    /// What a request of this URL needs: with https the file, or else the system.
    #[must_use]
    pub fn of(url: &str, file: Option<&Path>) -> Self {
        match (url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:")), file) {
            (false, _) => Self::Nobody,
            (true, None) => Self::System,
            (true, Some(file)) => Self::Only(file.to_owned()),
        }
    }

    /// The only certificates to believe; none where the system's are asked.
    fn certificates(&self) -> Result<Option<Vec<Certificate>>, TrustError> {
        match self {
            Self::System => Ok(None),
            Self::Nobody => Ok(Some(Vec::new())),
            Self::Only(path) => {
                let path = path.clone();
                let pem =
                    std::fs::read(&path).map_err(|cause| TrustError::File { path: path.clone(), cause })?;
                match Certificate::from_pem_bundle(&pem) {
                    Ok(certificates) if !certificates.is_empty() => Ok(Some(certificates)),
                    _ => Err(TrustError::Empty { path }),
                }
            }
        }
    }
}

/// A client for async code.
///
/// # Errors
/// The file of certificates cannot be used.
pub fn client(trust: &Trust) -> Result<ClientBuilder, TrustError> {
    use_ring();
    let builder = ClientBuilder::new();
    Ok(match trust.certificates()? {
        Some(only) => builder.tls_certs_only(only),
        None => builder,
    })
}

/// A client for threads of their own.
///
/// # Errors
/// The file of certificates cannot be used.
pub(crate) fn blocking_client(trust: &Trust) -> Result<blocking::ClientBuilder, TrustError> {
    use_ring();
    let builder = blocking::ClientBuilder::new();
    Ok(match trust.certificates()? {
        Some(only) => builder.tls_certs_only(only),
        None => builder,
    })
}

/// The cryptography of all TLS in the process. An error says that it was chosen before.
fn use_ring() {
    let _ = ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_by_tls_needs_certificates() {
        let file = Path::new("ca.pem");
        for (url, file, trust) in [
            ("http://host:1", None, Trust::Nobody),
            ("http://host", Some(file), Trust::Nobody),
            ("https://host", None, Trust::System),
            ("HTTPS://host", Some(file), Trust::Only(file.to_owned())),
            ("ftp", None, Trust::Nobody),
        ] {
            assert_eq!(Trust::of(url, file), trust, "{url}");
        }
    }

    #[test]
    fn a_file_that_has_no_certificate_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, empty) = (folder.path().join("missing.pem"), folder.path().join("empty.pem"));
        std::fs::write(&empty, "no certificate\n").unwrap();
        let refusal = |path: &Path| client(&Trust::Only(path.to_owned())).unwrap_err().to_string();
        assert!(refusal(&missing).contains("missing.pem"), "{}", refusal(&missing));
        assert!(refusal(&empty).contains("empty.pem has no certificate"), "{}", refusal(&empty));
        assert!(client(&Trust::Nobody).unwrap().build().is_ok());
    }
}
