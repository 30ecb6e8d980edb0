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

/// An input that a plugin failed on, with `on_error = "reject"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Index of the input.
    pub input: usize,
    /// The plugin's name.
    pub plugin: String,
    /// What went wrong.
    pub error: String,
}
