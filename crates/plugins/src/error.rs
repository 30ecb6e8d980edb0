//! One error type per stage: starting the runtime, watching the folder, loading a file. Of calls: [`CallError`].

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::golden::{CasesError, GoldenError};
use crate::{CallError, ManifestError, SignatureError, Stage};

/// The runtime could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The settings contradict each other.
    #[error("plugin runtime settings: {rule}")]
    Settings {
        /// The rule that does not hold.
        rule: &'static str,
    },
    /// wasmtime refused the configuration; mostly too little address space.
    #[error("cannot set up the WebAssembly engine (try fewer instances): {cause}")]
    Engine {
        /// In wasmtime's words.
        cause: String,
    },
    /// The folder of the compile cache cannot be used.
    #[error(
        "cannot use {path} as the compile cache (it must be a folder that this user owns and no other may write): {cause}"
    )]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The thread that ticks the deadlines could not be started.
    #[error("cannot start the deadline thread: {0}")]
    Thread(io::Error),
}

/// The folder could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The folder cannot be made or read.
    #[error("cannot read the plugin folder {path} (check that it is a folder and may be read): {cause}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The watcher's thread could not be started.
    #[error("cannot start the thread that watches the plugin folder: {0}")]
    Thread(io::Error),
}

/// Why a file may not serve. The message tells the plugin's author or the operator what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Its name is none that a plugin may have.
    #[error("the file's name {rule}: rename it")]
    Name {
        /// The rule.
        rule: &'static str,
    },
    /// The folder holds more files than are looked at.
    #[error(
        "the folder holds {found} .wasm files, and at most {limit} are looked at (plugin-files): this one and those after \
         it are not"
    )]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Reading the file broke one of the libraries that read it.
    #[error("the file broke the compiler, please report it with the file: {cause}")]
    Panicked {
        /// What the panic said.
        cause: String,
    },
    /// One of its files is too large.
    #[error("{file} is larger than {limit} bytes: {remedy}")]
    TooLarge {
        /// The file's name.
        file: String,
        /// The limit, in bytes.
        limit: u64,
        /// What to do, with the setting of the limit.
        remedy: &'static str,
    },
    /// The file does not begin as WebAssembly does.
    #[error("not WebAssembly: {found}; build it with `sawpit plugin build` or for wasm32-unknown-unknown")]
    NotWasm {
        /// What it is instead.
        found: &'static str,
    },
    /// It, or its manifest, is not signed as this runtime requires.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The `.toml` beside it is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A core module that cannot be made a component.
    #[error("this core module cannot be made a component{cause}")]
    Encode {
        /// What to do, and why, in wit-component's words where they are clear enough.
        cause: String,
    },
    /// WebAssembly that does not compile.
    #[error("the file is damaged (copy it again) or uses what the engine does not support: {cause}")]
    Compile {
        /// In wasmtime's words.
        cause: String,
    },
    /// It is not a plugin, or one for another version of the interface.
    #[error(
        "not a plugin of this version: wanted exports {wanted}; found {found}; build it with the SDK of this Sawpit, or run \
         a Sawpit of its version"
    )]
    Exports {
        /// What a plugin exports.
        wanted: String,
        /// What the file exports.
        found: String,
    },
    /// It imports what no plugin can have.
    #[error("it imports {found}, which no plugin can have: offered are {offered}")]
    Imports {
        /// The import.
        found: String,
        /// What can be imported.
        offered: &'static str,
    },
    /// It imports what its manifest does not grant.
    #[error("it imports {imports}: add grants = [{grants}] to {manifest} to allow that")]
    Grant {
        /// All imports that are not granted.
        imports: String,
        /// The grants that it has, with those that are missing.
        grants: String,
        /// The manifest's file name.
        manifest: String,
    },
    /// The types of its imports or exports differ from the interface.
    #[error("its types differ from sawpit:plugin@0.1.0; build it against this version's wit folder: {cause}")]
    Link {
        /// In wasmtime's words.
        cause: String,
    },
    /// An instance could not be started.
    #[error("it does not start: {0}")]
    Start(CallError),
    /// `configure` refused the settings.
    #[error("[config] of {manifest}: {cause}{hint}")]
    Config {
        /// The manifest's file name.
        manifest: String,
        /// In the plugin's words.
        cause: CallError,
        /// What may have been meant, or nothing.
        hint: String,
    },
    /// `describe` failed.
    #[error("its describe failed: {0}")]
    Describe(CallError),
    /// What `describe` returned breaks a rule.
    #[error("its describe returned {field} {found:?}: {rule}")]
    Description {
        /// Which part.
        field: &'static str,
        /// What it was.
        found: String,
        /// The rule.
        rule: &'static str,
    },
    /// It has settings, and takes none.
    #[error("{manifest} has a config table, and the plugin exports no configuration: remove the table")]
    NotConfigurable {
        /// The manifest's file name.
        manifest: String,
    },
    /// It failed the trial on sample logs.
    #[error("it failed the trial run of {stage} on sample logs: {cause}")]
    Trial {
        /// The stage.
        stage: Stage,
        /// How.
        cause: CallError,
    },
    /// It was not proved in time.
    #[error("it was not proved within {} ms (plugin-proving-timeout): {at}", .limit.as_millis())]
    Unproved {
        /// The time for start, trial, golden cases and cost together.
        limit: Duration,
        /// How far it came.
        at: Box<Self>,
    },
    /// The file of its golden cases is wrong.
    #[error(transparent)]
    Cases(#[from] CasesError),
    /// It does not do what its golden cases say.
    #[error(transparent)]
    Golden(GoldenError),
    /// It costs more than its manifest allows.
    #[error(
        "{stage} needs {fuel} fuel per log (the mean over {logs} logs), over the budget.fuel_per_log of {budget} in {file}"
    )]
    Budget {
        /// The stage.
        stage: Stage,
        /// What it needs.
        fuel: u64,
        /// What it may need.
        budget: u64,
        /// Over how many logs.
        logs: usize,
        /// The manifest's file name.
        file: String,
    },
    /// Its cost could not be counted.
    #[error("its cost cannot be counted for budget.fuel_per_log: {cause}")]
    Meter {
        /// Why.
        cause: String,
    },
    /// It was a canary, and taken back.
    #[error(
        "this version was rolled back: {reason}. Put another in its place, or remove {note} to try it again"
    )]
    RolledBack {
        /// What it did wrong.
        reason: String,
        /// The file that says so.
        note: String,
    },
}
