//! What a log is: its fields, their limits, how it is parsed and how it travels.
//!
//! Pure: no I/O, and the time is always a parameter. `log_data` is carried as the text the device sent
//! ([`RawObject`]), checked once and never serialised again unless a plugin patched it, because parsing and
//! printing JSON would cost more than everything else the host does for a log.

mod id;
mod level;
mod limits;
mod log;
mod raw;
mod timestamp;

pub use id::{MessageId, ParseIdError};
pub use level::{Level, UnknownLevel};
pub use limits::Limits;
pub use log::{Entry, Log};
pub use raw::{RawObject, RawObjectError};
pub use timestamp::{ParseTimestampError, Timestamp};
