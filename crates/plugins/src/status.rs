//! What the operator sees of each plugin.

use serde::Serialize;

use sawpit_model::Timestamp;

use crate::{Mode, Stage};

/// Where a file of the folder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PluginState {
    /// In the chain, its answers count.
    Active,
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
}
