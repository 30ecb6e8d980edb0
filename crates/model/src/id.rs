//! The id that a queue gives a message.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `milliseconds-sequence`, in every backend: when the message was appended, and its place among those of
/// the same millisecond. Ordered as the queue is. The form is that of a Redis stream's entry id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    /// Milliseconds since the Unix epoch, by the queue's clock.
    pub ms: u64,
    /// Rises within the millisecond; where the queue has several partitions, it names the partition as well.
    pub seq: u64,
}

/// A text that is not `milliseconds-sequence`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a message id: expected milliseconds-sequence, as in 1760000000000-0")]
pub struct ParseIdError(String);

impl MessageId {
    /// The largest id.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The id that sorts next after this one; [`MessageId::MAX`] stays itself.
    #[must_use]
    pub const fn next(self) -> Self {
        match (self.seq.checked_add(1), self.ms.checked_add(1)) {
            (Some(seq), _) => Self { ms: self.ms, seq },
            (None, Some(ms)) => Self { ms, seq: 0 },
            (None, None) => Self::MAX,
        }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for MessageId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (ms, seq) = text.split_once('-')?;
            Some(Self { ms: decimal(ms)?, seq: decimal(seq)? })
        };
        parse().ok_or_else(|| ParseIdError(text.chars().take(64).collect()))
    }
}

/// Digits only: unlike `u64::from_str`, no plus sign.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
