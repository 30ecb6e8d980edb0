//! What every Sawpit process needs and no device would recognise: settings, telemetry, life cycle, health,
//! clock, randomness, back-off, and the one door to the CPU pool.
//!
//! Knows nothing of logs (only [`sawpit_model::Timestamp`]). A command is: [`settings`] resolved, then
//! [`boot::run`], which hands a [`Process`] to the command's own async function.

pub mod backoff;
pub mod boot;
pub mod catalog;
pub mod clock;
pub mod door;
pub mod health;
pub mod http;
mod log_lines;
pub mod ops;
mod scopes;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
mod throttle;
pub mod trace;

pub use backoff::{Backoff, Random};
pub use boot::{Exit, Process, ProcessSettings};
pub use clock::Clock;
pub use door::{Door, DoorError};
pub use health::Health;
pub use log_lines::in_trace;
pub use settings::{ByteSize, FromSetting, Resolver, SettingSpec, SettingsErrors};
pub use shutdown::Shutdown;
pub use telemetry::{LogFormat, Metrics};
pub use throttle::Throttle;
pub use trace::{TraceContext, Tracer};
