//! `POST`: parse, run the plugins, append, and only then answer.
//!
//! The answer waits for the queue's confirmation, because a device may forget a log that was answered `queued`.

pub(crate) mod batch;
pub(crate) mod errors;
pub(crate) mod key;
pub(crate) mod once;
pub(crate) mod single;
