//! What the operator sees of each plugin.

use serde::Serialize;

use sawpit_model::Timestamp;

use crate::canary::{Canary, CanaryStatus};
use crate::slot::Slot;
use crate::{BreakerStatus, Mode, Stage};

/// Where a file of the folder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PluginState {
    /// In the chain, its answers count.
    Active,
    /// A new version has a part of the devices, see `canary`; the one before it, which the figures are of, has the
    /// others.
    Canary,
    /// Called on copies; its differences are counted, its answers do not count.
    Shadow,
    /// Switched off by its manifest; the file was not even compiled.
    Off,
    /// The file as it is now may not serve, see `refusal`. An earlier version may be serving, see `serving`.
    Refused,
}

/// One file of the plugin folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PluginStatus {
    /// What the plugin calls itself; the file's stem where it could not be asked.
    pub name: String,
    /// The file's name in the folder.
    pub file: String,
    /// What it exports, in the order of the flow; empty where it could not be asked.
    pub stages: Vec<Stage>,
    /// Of the version that is serving.
    pub version: Option<String>,
    /// BLAKE3 of the wasm and the manifest of the version that is serving, 16 hexadecimal digits.
    pub hash: Option<String>,
    /// The plugin's own line of help.
    pub help: String,
    /// What the manifest asks for.
    pub mode: Mode,
    /// Where it stands.
    pub state: PluginState,
    /// Whether some version of it is being called.
    pub serving: bool,
    /// Why the file as it is now may not serve.
    pub refusal: Option<String>,
    /// Since when it is in this state and version.
    pub since: Timestamp,
    /// Calls of this version.
    pub calls: u64,
    /// Logs in those calls.
    pub logs: u64,
    /// Logs that this version failed on.
    pub errors: u64,
    /// In shadow mode: logs that would have come out otherwise.
    pub differences: u64,
    /// Mean time of a call, in microseconds.
    pub mean_us: f64,
    /// 99th percentile of a call's time, in microseconds (to within 6 %).
    pub p99_us: f64,
    /// Mean time per log, in microseconds.
    pub log_mean_us: f64,
    /// 99th percentile over calls of the mean time per log, in microseconds (to within 6 %).
    pub log_p99_us: f64,
    /// The last error, with the guest's own words and trace where there are any.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
    /// Whether it is called or bypassed because it kept failing; none where nothing is serving.
    pub breaker: Option<BreakerStatus>,
    /// The version on trial.
    pub canary: Option<CanaryStatus>,
}

/// What is shown of one file.
pub(crate) fn of(slot: &Slot) -> PluginStatus {
    let serving = slot.serving.as_deref();
    let described = serving.map(|plugin| plugin.description().clone());
    let reading = serving.map(|plugin| plugin.meter.read()).unwrap_or_default();
    let (last_error, last_error_at) = reading.last_error.unzip();
    PluginStatus {
        name: described
            .as_ref()
            .map_or_else(|| slot.file.trim_end_matches(".wasm").to_owned(), |it| it.name.clone()),
        file: slot.file.clone(),
        stages: serving.map(|plugin| plugin.stages().to_vec()).unwrap_or_default(),
        version: described.as_ref().map(|it| it.version.clone()),
        hash: serving.map(|plugin| plugin.hash().to_owned()),
        help: described.map(|it| it.help).unwrap_or_default(),
        mode: slot.mode,
        state: state_of(slot),
        serving: serving.is_some(),
        refusal: slot.refusal.clone(),
        since: slot.since,
        calls: reading.calls,
        logs: reading.logs,
        errors: reading.errors,
        differences: reading.differences,
        mean_us: reading.mean_us,
        p99_us: reading.p99_us,
        log_mean_us: reading.log_mean_us,
        log_p99_us: reading.log_p99_us,
        last_error,
        last_error_at,
        breaker: serving.map(|plugin| plugin.breaker.status()),
        canary: slot.canary.as_ref().map(Canary::status),
    }
}

const fn state_of(slot: &Slot) -> PluginState {
    match (&slot.refusal, slot.mode) {
        (Some(_), _) => PluginState::Refused,
        (None, _) if slot.canary.is_some() => PluginState::Canary,
        (None, Mode::Active) => PluginState::Active,
        (None, Mode::Shadow) => PluginState::Shadow,
        (None, Mode::Off) => PluginState::Off,
    }
}
