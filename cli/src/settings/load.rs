//! `sawpit load`.

use std::time::Duration;

use clap::ArgMatches;
use sawpit_service::settings::SettingsErrors;
use sawpit_service::{Clock, ProcessSettings, SettingSpec};

use crate::load::{LoadSettings, Unanswered, Verify};

const SPECS: &[SettingSpec] = &[
    SettingSpec::new("url", "URL", "Base address of the host or the proxy").default("http://127.0.0.1:8000"),
    super::health::CA,
    SettingSpec::new(
        "token",
        "TOKEN",
        "Sent with each request, where the host asks for one: of the role admin with --verify",
    )
    .secret(),
    SettingSpec::new("devices", "N", "How many devices are simulated").default("100"),
    SettingSpec::new("rate", "N", "Logs per second in all; as fast as answers come unless given"),
    SettingSpec::new("seconds", "N", "How long simulated devices post").default("10"),
    SettingSpec::new(
        "file",
        "FILE",
        "Replay these logs instead, a body of POST /api/log a line; - is standard input",
    ),
    SettingSpec::new("batch", "N", "Logs per request; 1 posts to /api/log").default("1"),
    SettingSpec::new("requests-in-flight", "N", "Requests in flight at once").default("64"),
    SettingSpec::new("retry", "", "Give each request an Idempotency-Key, and repeat it when no answer comes")
        .switch(),
    SettingSpec::new("seed", "N", "The same seed posts the same simulated logs").default("1"),
    SettingSpec::new("verify", "", "Then look whether every answered log is stored exactly once").switch(),
    SettingSpec::new(
        "patience",
        "TIME",
        "With --verify: time without a new row after which a log is missing",
    )
    .default("20s"),
];

pub fn specs() -> Vec<SettingSpec> {
    [super::process_specs(), SPECS.to_vec()].concat()
}

/// # Errors
/// Every wrong setting.
pub fn resolve(flags: &ArgMatches) -> Result<(ProcessSettings, LoadSettings), SettingsErrors> {
    super::resolve(&specs(), flags, |resolver| {
        let process = super::process(resolver);
        let url = resolver.get_if(
            "url",
            |url: &String| url.starts_with("http://") || url.starts_with("https://"),
            "must be http://HOST:PORT, or https:",
        );
        let ca = resolver.optional("ca");
        let token = resolver.optional::<String>("token");
        let devices = resolver.get_in("devices", 1..=1_000_000);
        let rate = resolver.optional::<u32>("rate");
        if let Some(Some(rate)) = rate {
            resolver.check(
                rate > 0,
                &["rate"],
                "must be 1 at least; leave it out to post as fast as answers come",
            );
        }
        let seconds = resolver.get_in("seconds", 1..=86_400);
        let file = resolver.optional("file");
        let batch = resolver.get_in("batch", 1..=100_000);
        let connections = resolver.get_in("requests-in-flight", 1..=10_000);
        let retry = resolver.get("retry");
        let seed = resolver.get("seed");
        let verify = resolver.get("verify");
        let patience = resolver.get("patience");
        let settings = LoadSettings {
            url: url?,
            ca: ca?,
            token: token?,
            devices: devices?,
            rate: rate?,
            duration: Duration::from_secs(seconds?),
            file: file?,
            batch: batch?,
            connections: connections?,
            unanswered: if retry? { Unanswered::Repeat } else { Unanswered::Fail },
            seed: seed?,
            verify: if verify? { Verify::Stored { patience: patience? } } else { Verify::No },
            started_at: Clock::system().now(),
        };
        Some((process?, settings))
    })
}
