//! What a log is: its fields, their limits, how it is parsed and how it travels; and what plugins made of it, in numbers.
//!
//! Pure: no I/O, and the time is always a parameter. `log_data` is carried as the text the device sent
//! ([`RawObject`]), checked once and never serialised again unless a plugin patched it, because parsing and
//! printing JSON would cost more than everything else the host does for a log.

mod body;
mod check;
mod id;
mod level;
mod limits;
mod log;
mod patch;
mod raw;
mod scan;
mod text;
mod timestamp;
mod verdict;
mod wire;

pub use body::{BodyError, FieldError, parse_batch, parse_log};
pub use id::{MessageId, ParseIdError};
pub use level::{Level, UnknownLevel};
pub use limits::Limits;
pub use log::{Entry, Failure, Log};
pub use patch::PatchError;
pub use raw::{RawObject, RawObjectError};
pub use scan::Members;
pub use timestamp::{ParseTimestampError, Timestamp};
pub use verdict::{PluginVerdicts, Tally, Verdict};
pub use wire::WireError;
