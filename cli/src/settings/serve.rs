//! How connections are treated.

use std::time::Duration;

use sawpit_host::ServeSettings;
use sawpit_service::SettingSpec;
use sawpit_service::settings::Resolver;

use super::tls;

pub const SPECS: &[SettingSpec] = &[
    SettingSpec::new("header-timeout", "TIME", "Longest time to send a request's head").default("10s"),
    SettingSpec::new("idle-timeout", "TIME", "Longest time between two requests of a connection")
        .default("75s"),
    SettingSpec::new("answer-timeout", "TIME", "Longest time to take nothing of an answer").default("30s"),
    SettingSpec::new("connections", "N", "Most connections at once").default("10000"),
    SettingSpec::new("http2-streams", "N", "Most requests at once on one HTTP/2 connection").default("256"),
    SettingSpec::new("drain-grace", "TIME", "How long idle connections are kept after SIGTERM").default("1s"),
    SettingSpec::new("drain-timeout", "TIME", "How long work in hand may take after SIGTERM").default("30s"),
];

pub fn resolve(resolver: &mut Resolver) -> Option<ServeSettings> {
    let tls = tls::resolve(resolver);
    let mut time = |name| resolver.get_time(name, super::TIMES);
    let (header_timeout, idle_timeout) = (time("header-timeout"), time("idle-timeout"));
    let answer_timeout = time("answer-timeout");
    let connections = resolver.get_in("connections", 1..=1_000_000);
    let http2_streams = resolver.get_in("http2-streams", 1..=100_000);
    let drain_grace = resolver.get::<Duration>("drain-grace");
    let drain_timeout = resolver.get_time("drain-timeout", super::TIMES);
    if let (Some(grace), Some(timeout)) = (drain_grace, drain_timeout) {
        let rule = "drain-grace must be shorter than drain-timeout";
        resolver.check(grace < timeout, &["drain-grace", "drain-timeout"], rule);
    }
    Some(ServeSettings {
        tls: tls?,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        answer_timeout: answer_timeout?,
        connections: connections?,
        http2_streams: http2_streams?,
        drain_grace: drain_grace?,
        drain_timeout: drain_timeout?,
    })
}
