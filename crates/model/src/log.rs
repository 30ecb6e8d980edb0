//! A log that passed validation.

use serde::{Deserialize, Serialize};

use crate::{Level, RawObject, Timestamp};

/// One log of one device. Only [`crate::Limits`]-checked values get in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Who sent it.
    pub device_id: String,
    /// How grave it is.
    pub log_level: Level,
    /// What happened, for a person to read.
    pub message: String,
    /// What happened, for a program to read: the JSON object's text as it was sent, or as patched.
    pub log_data: RawObject,
    /// When the host took it.
    pub received_at: Timestamp,
}

/// A log on its way through the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The log as the host's plugins left it.
    pub log: Log,
    /// Id of the plugin chain that the host ran it through, for the row's provenance. Empty for a log that no host's
    /// plugins have seen to the end: the worker runs them first.
    pub chain: String,
    /// W3C trace context of the request (`traceparent`), if the device or a proxy sent one.
    pub traceparent: Option<String>,
    /// Why the log is for the dead letters and not for the store: a plugin of the host failed on it, and its policy is
    /// to keep such logs. The log is then as the device sent it, and `chain` is empty.
    pub failure: Option<Failure>,
}

/// How a plugin of the host failed on a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// `name@version#hash` of the plugin.
    pub plugin: String,
    /// What went wrong, with the guest's trace where there is one.
    pub error: String,
}
