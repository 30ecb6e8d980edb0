//! The WIT types as Rust: wasmtime's generator fills this module from the `wit` folder.
//!
//! Only [`crate::convert`], [`crate::host`] and the calls in [`crate::instance`] name what is in here.
#![allow(missing_docs, clippy::all, clippy::pedantic, unused_qualifications)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "sawpit:plugin/full-plugin",
});

pub use exports::sawpit::plugin::{configuration, enrich, filter, meta, transform};
pub use sawpit::plugin::{clock, counters, log, types};
