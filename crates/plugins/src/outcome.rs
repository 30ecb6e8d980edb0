//! What the chain made of the logs. Each variant says what the caller does next.

use sawpit_model::Log;

/// What the host's stages made of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// Append it, as the plugins left it.
    Accepted(Log),
    /// Do not store it; answer `dropped`.
    Dropped {
        /// The plugin's name.
        plugin: String,
        /// Why, in the plugin's words; may be empty.
        reason: String,
    },
    /// Refuse it: the device is at fault (422).
    Rejected {
        /// The plugin's name.
        plugin: String,
        /// Why, in the plugin's words; may be empty.
        reason: String,
    },
    /// Keep it among the dead letters: the plugin is at fault, and its `on_error` is `quarantine`.
    Quarantined {
        /// `name@version#hash` of the plugin.
        plugin: String,
        /// What went wrong.
        error: String,
        /// The log as it was before any plugin saw it.
        log: Log,
    },
    /// Refuse it: the plugin is at fault, and its `on_error` is `reject`.
    Failed {
        /// The plugin's name.
        plugin: String,
        /// What went wrong.
        error: String,
    },
}

/// What the worker's stage made of a batch. Every input is in exactly one of: the sources of some outputs,
/// `dropped`, `failed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transformed {
    /// Store these.
    pub outputs: Vec<Output>,
    /// Acknowledge these without a row; ascending by input.
    pub dropped: Vec<Dropped>,
    /// Dead-letter or retry these; ascending by input.
    pub failed: Vec<Failed>,
}

/// A log to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// As the plugins left it.
    pub log: Log,
    /// The inputs that it was made of, as indices; the one that it continues first, none twice.
    pub sources: Vec<usize>,
}

/// An input that a plugin does not want stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Index of the input.
    pub input: usize,
    /// The plugin's name.
    pub plugin: String,
    /// Why, in the plugin's words; may be empty.
    pub reason: String,
}

/// An input that a plugin failed on, with `on_error = "reject"` or `"quarantine"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Index of the input.
    pub input: usize,
    /// `name@version#hash` of the plugin.
    pub plugin: String,
    /// What went wrong.
    pub error: String,
    /// Whether the log is at fault, as far as one can tell.
    pub cause: Cause,
}

/// Whose fault it is that a log came out of no plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The plugin was called with it and failed, or is bypassed because it keeps failing.
    Log,
    /// The plugin was not called with it: no instance was free, or others of the batch used up the time. Trying again
    /// may do.
    Circumstances,
}
