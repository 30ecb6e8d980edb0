//! What could not be stored, kept whole.

use sawpit_model::{MessageId, Timestamp};
use serde::{Deserialize, Serialize};

/// A buried message, with everything needed to understand it and to try it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its id among the dead letters: when it was buried.
    pub id: MessageId,
    /// The id under which the device was told it is queued.
    pub message_id: MessageId,
    /// Why it was buried.
    pub reason: String,
    /// The plugin that is at fault, if one is.
    pub plugin: Option<String>,
    /// How often it was tried.
    pub tries: u32,
    /// When it was buried.
    pub buried_at: Timestamp,
    /// The message's fields, as they were in the queue.
    pub fields: Vec<(String, String)>,
}
