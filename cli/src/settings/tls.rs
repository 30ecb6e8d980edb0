//! The certificate of the listeners.

use std::path::PathBuf;

use sawpit_host::{Tls, TlsError, TlsFiles};
use sawpit_service::SettingSpec;
use sawpit_service::settings::Resolver;

pub const SPECS: &[SettingSpec] = &[
    SettingSpec::new(
        "tls-cert",
        "FILE",
        "Serve by TLS with this certificate and its chain (PEM); read again when it changes",
    ),
    SettingSpec::new("tls-key", "FILE", "Private key of the certificate (PEM)"),
];

/// None where it is served in the clear. The files are read, so that a pair that cannot be used ends the start.
pub fn resolve(resolver: &mut Resolver) -> Option<Option<Tls>> {
    let (certificate, key) = (resolver.optional::<PathBuf>("tls-cert"), resolver.optional("tls-key"));
    match (certificate?, key?) {
        (None, None) => Some(None),
        (Some(certificate), Some(key)) => match Tls::open(TlsFiles { certificate, key }) {
            Ok(tls) => Some(Some(tls)),
            Err(error) => {
                let at_fault = if matches!(error, TlsError::Key { .. }) { "tls-key" } else { "tls-cert" };
                resolver.mistake(at_fault, &error.to_string());
                None
            }
        },
        (Some(_), None) => missing(resolver, "tls-key", "must be given with tls-cert"),
        (None, Some(_)) => missing(resolver, "tls-cert", "must be given with tls-key"),
    }
}

fn missing(resolver: &mut Resolver, name: &str, rule: &str) -> Option<Option<Tls>> {
    resolver.mistake(name, rule);
    None
}
