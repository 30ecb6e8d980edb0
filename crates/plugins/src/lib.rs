//! The WebAssembly plugin runtime: it turns a folder of `.wasm` files into a chain that logs run through.
//!
//! The key decision: **prove, then swap**. A file is compiled, linked, configured and tried on sample logs
//! before it may serve; whatever fails leaves the chain of before untouched. A request or batch takes one
//! [`Chain`] and keeps it from start to end.
//!
//! The second: a guest is hostile until shown otherwise. Every call has a deadline and a memory limit, every
//! answer is checked before it is used, and what fails is one log with one reason, not the process.
//!
//! This is the only crate that names wasmtime and notify. All calls are synchronous and bound by the CPU:
//! make them off the async threads.

mod bench;
mod bindings;
mod breaker;
mod budget;
mod cache;
mod call;
mod call_error;
mod canary;
mod chain;
mod component;
mod convert;
mod description;
mod engine;
mod error;
mod explain;
mod files;
pub mod golden;
mod heard;
mod histogram;
mod history;
mod host;
mod ingest;
mod inspect;
mod instance;
mod isolate;
mod kept;
mod limiter;
mod load;
mod manifest;
mod matches;
mod member;
mod meter;
mod outcome;
mod passage;
mod plugin;
mod probe;
mod proving;
mod record;
mod registry;
mod reload;
mod rollback;
mod rows;
mod scan;
mod scope;
mod settings;
mod settle;
mod shadow;
mod signature;
mod slot;
mod source;
mod status;
mod suspects;
mod trace;
mod transform;
mod trial;
mod wasi;
mod watch;

pub use bench::{Bench, BenchError, CallCost, StageCost, bench};
pub use breaker::{BreakerLimits, BreakerState, BreakerStatus};
pub use call_error::{CallError, OutputError};
pub use canary::{CanaryLimits, CanaryReading, CanaryStatus};
pub use chain::Chain;
pub use engine::Runtime;
pub use error::{EngineError, LoadError, RegistryError};
pub use explain::{Explanation, Step, StepDecision};
pub use heard::{Counted, Heard, Line};
pub use history::{PastChain, PastVersion};
pub use inspect::{Inspection, ManifestSummary, inspect, signed_by};
pub use load::Tried;
pub use manifest::{Grant, Lifetime, Manifest, ManifestError, Mode, OnError};
pub use matches::Match;
pub use member::Member;
pub use outcome::{Cause, Dropped, Failed, Ingested, Output, Transformed};
pub use passage::{Finished, Next, Part, Passage, Shadows};
pub use plugin::{Description, Plugin, Stage};
pub use record::{CallVerdict, RecordedCall, Recorder};
pub use registry::{Registry, RegistrySettings, Watch};
pub use scope::Scopes;
pub use settings::{Clock, RuntimeSettings};
pub use shadow::{DIFFERENCES_KEPT, Difference, Instead};
pub use signature::{SignatureError, TrustedKey, TrustedKeys, TrustedKeysError};
pub use status::{PluginState, PluginStatus};
pub use trial::sample_logs;
