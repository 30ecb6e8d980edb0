//! The WebAssembly plugin runtime (signatures first; the inside is being written).

mod error;
mod manifest;
mod outcome;
mod plugin;
mod settings;
mod skeleton;
mod status;

pub use error::{CallError, EngineError, LoadError, OutputError, RegistryError};
pub use manifest::{Grant, Manifest, ManifestError, Match, Mode, OnError};
pub use outcome::{Dropped, Failed, Ingested, Output, Transformed};
pub use plugin::Stage;
pub use settings::{Clock, RuntimeSettings};
pub use skeleton::{Chain, Description, Plugin, Registry, RegistrySettings, Runtime};
pub use status::{PluginState, PluginStatus};
