//! Write a Sawpit plugin in a few lines: implement [`Plugin`] and one of [`Filter`], [`Enrich`],
//! [`Transform`] or [`Rewrite`], then name it in [`export!`].
//!
//! Key decision: logs cross from the host as columns, and this crate shows them as rows that only borrow
//! ([`Log`]), so a log costs the guest no allocation. What a plugin adds goes back the same way.
//!
//! ```
//! use sawpit_plugin::{Enrich, Fields, Level, Log, Patch, Plugin, export};
//!
//! /// Marks the logs that somebody should look at.
//! struct Attention;
//!
//! impl Plugin for Attention {
//!     const NAME: &'static str = "attention";
//!     const VERSION: &'static str = "1.0.0";
//!     const HELP: &'static str = "Marks logs from ERROR up";
//!     const READS: Fields = Fields::LOG_LEVEL;
//!     type Config = sawpit_plugin::NoConfig;
//!
//!     fn new(_config: Self::Config) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl Enrich for Attention {
//!     fn enrich(&self, log: &Log) -> Result<Patch, String> {
//!         Ok(Patch::new().set("attention", log.level() >= Level::Error))
//!     }
//! }
//!
//! export!(Attention: enrich);
//!
//! // The same rules run natively, in ordinary tests.
//! use sawpit_plugin::testing::{self, Sample};
//! let patches = testing::enrich::<Attention>("{}", &[Sample::new("pump-1", Level::Error, "no flow", "{}")]);
//! assert_eq!(patches[0].as_ref().unwrap()["attention"], true);
//! ```
//!
//! An instance of a plugin is used by one thread at a time and may be replaced at any time, so what it
//! remembers between calls is a cache, not a record.

mod batch;
#[doc(hidden)]
pub mod bindings;
mod enrich;
mod export;
mod filter;
mod glob;
pub mod host;
pub mod json;
mod level;
mod patch;
mod plugin;
pub mod testing;
mod transform;

pub use batch::{Batch, Log};
pub use bindings::wire::{Fields, Level};
pub use enrich::Enrich;
pub use filter::{Filter, Verdict};
pub use glob::Glob;
pub use patch::Patch;
pub use plugin::{NoConfig, Plugin};
pub use serde_json;
pub use transform::{Edit, Outputs, Rewrite, Transform};

/// What [`export!`] expands to calls of; not for plugins.
#[doc(hidden)]
pub mod glue {
    pub use crate::enrich::enrich;
    pub use crate::export::{configure, describe};
    pub use crate::filter::filter;
    pub use crate::transform::transform;
}
