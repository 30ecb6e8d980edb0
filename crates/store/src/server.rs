//! The servers of the queue, as far as exactly-once depends on them.

/// A server that serves a stream of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueServer {
    /// Name of the stream.
    pub stream: String,
    /// Differs between servers, between the lives of one, and when a replica takes over.
    pub incarnation: String,
}

/// What [`crate::Store::meet`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// All of them serve their streams since before: go on.
    Before,
    /// One of them is new, so every lease was taken from its owner, the caller's as well: take a new one, and leave
    /// unsettled what was delivered before.
    Newly,
}

impl Met {
    pub(crate) const fn of(changed: i64) -> Self {
        if changed > 0 { Self::Newly } else { Self::Before }
    }
}
