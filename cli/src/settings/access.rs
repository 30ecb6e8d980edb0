//! Where is listened, and who is asked for a token there.

use std::net::SocketAddr;
use std::time::Duration;

use sawpit_host::Access;
use sawpit_service::SettingSpec;
use sawpit_service::settings::Resolver;

/// Of every command that listens.
pub const SPECS: &[SettingSpec] = &[
    SettingSpec::new("require-token", "BOOL", "Ask for tokens on a loopback address, too, as behind a proxy")
        .switch(),
    SettingSpec::new(
        "token-refresh",
        "TIME",
        "How often tokens are read again, which ends those that were revoked",
    )
    .default("2s"),
    SettingSpec::new("insecure", "BOOL", "Ask for no tokens on any address").switch(),
];

/// Of those with an API.
pub const ADMIN: SettingSpec = SettingSpec::new(
    "admin-listen",
    "ADDRESS",
    "Address of /metrics and /api/plugins, which the API's then does not serve",
);

/// How an address is decided about.
#[derive(Clone, Copy)]
pub struct Rule {
    /// How often the tokens are read.
    pub refresh: Duration,
    require_token: bool,
    insecure: bool,
}

/// A listener.
#[derive(Clone, Copy)]
pub struct Door {
    pub address: SocketAddr,
    pub access: Access,
}

/// The listeners of a host.
#[derive(Clone, Copy)]
pub struct Doors {
    pub refresh: Duration,
    pub api: Door,
    pub admin: Option<Door>,
}

impl Rule {
    pub fn resolve(resolver: &mut Resolver) -> Option<Self> {
        let (require_token, insecure) = (resolver.get("require-token"), resolver.get("insecure"));
        if let (Some(required), Some(insecure)) = (require_token, insecure) {
            resolver.check(!(required && insecure), &["require-token", "insecure"], "exclude each other");
        }
        let times = Duration::from_millis(10)..=Duration::from_secs(3_600);
        let refresh = resolver.get_if("token-refresh", |time| times.contains(time), "must be 10ms to 1h");
        Some(Self { refresh: refresh?, require_token: require_token?, insecure: insecure? })
    }

    /// Off by default where only this machine can connect, on where others can.
    pub fn door(self, address: SocketAddr) -> Door {
        let is_open = if address.ip().is_loopback() { !self.require_token } else { self.insecure };
        Door { address, access: if is_open { Access::Open } else { Access::Tokens } }
    }
}

pub fn doors(resolver: &mut Resolver) -> Option<Doors> {
    let rule = Rule::resolve(resolver);
    let listen = resolver.get::<SocketAddr>("listen");
    let admin = resolver.optional::<SocketAddr>("admin-listen");
    if let (Some(listen), Some(Some(admin))) = (listen, admin) {
        resolver.check(listen != admin, &["listen", "admin-listen"], "must be two addresses");
    }
    let (rule, listen, admin) = (rule?, listen?, admin?);
    Some(Doors {
        refresh: rule.refresh,
        api: rule.door(listen),
        admin: admin.map(|address| rule.door(address)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_asked_for_where_others_can_connect_unless_told_otherwise() {
        let access = |address: &str, require_token, insecure| {
            Rule { refresh: Duration::from_secs(2), require_token, insecure }
                .door(address.parse().unwrap())
                .access
        };
        for local in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1"] {
            assert_eq!(access(local, false, false), Access::Open);
            assert_eq!(access(local, true, false), Access::Tokens);
        }
        for public in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[2001:db8::1]:1"] {
            assert_eq!(access(public, false, false), Access::Tokens);
            assert_eq!(access(public, false, true), Access::Open);
        }
    }
}
