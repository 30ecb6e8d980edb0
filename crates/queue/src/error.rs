//! What can go wrong, by what the caller does next.

/// Why the queue could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL names no queue that we know.
    #[error(
        "queue {url}: {why}; give redis://host:port/db, redis+cluster://host:port,host:port or the path of a folder"
    )]
    Url {
        /// The URL, without its password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Redis cannot be reached or refuses us.
    #[error("cannot reach the queue {url}: {cause}; check that Redis runs and that the URL is right")]
    Unreachable {
        /// The URL, without its password.
        url: String,
        /// What the driver or the server says.
        cause: String,
    },
    /// The embedded queue's folder is in use.
    #[error("the queue in {path} is open in another process; stop that one, or choose another folder")]
    InUse {
        /// The file.
        path: String,
    },
    /// The embedded queue's file cannot be used. Nothing was changed in it.
    #[error(
        "cannot open the queue {path}: {cause}; nothing was overwritten: restore the file or move it away"
    )]
    File {
        /// The file.
        path: String,
        /// What the file system or the embedded store says.
        cause: String,
    },
}

/// Why an append was not confirmed. What the device may be told depends on which it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The backlog is at its limit; nothing was appended. Come back when workers have caught up.
    #[error("the backlog is at its limit of {limit} messages; nothing was appended")]
    Full {
        /// The limit, in messages.
        limit: u64,
    },
    /// Surely nothing was appended: the queue is away, full or says no. Try again later.
    #[error("the queue did not take it: {cause}; nothing was appended")]
    Refused {
        /// What the driver or the server says.
        cause: String,
    },
    /// The answer did not come: it may have been appended or not. Trying again may append it twice.
    #[error("the queue did not answer: {cause}; it may have been appended or not")]
    Unknown {
        /// What the driver or the server says.
        cause: String,
    },
}

/// Why messages could not be read. Wait, then read again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue cannot be read: {cause}; trying again later will do once it is back")]
pub struct ReadError {
    pub(crate) cause: String,
}

/// Why something else did not work. Settling is safe to leave undone: what is unsettled is delivered again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The queue is away or says no. Try again later.
    #[error("the queue is not available: {cause}; try again later")]
    Unavailable {
        /// What the driver or the server says.
        cause: String,
    },
    /// It was appended before, and too few replicas have it: a failure may still take it away. Ask again later.
    #[error("too few replicas have what was appended: {cause}; ask again later")]
    Unconfirmed {
        /// What the driver or the server says.
        cause: String,
    },
    /// There are as many dead letters as there may be.
    #[error(
        "the dead letters are at their limit of {limit}: nothing was buried and nothing is lost; replay or purge some \
         (`sawpit dead`), or raise --dead-limit"
    )]
    DeadFull {
        /// The limit, in letters.
        limit: u64,
    },
    /// There is no dead letter of this id.
    #[error("there is no dead letter {id}; `sawpit dead list` shows those there are")]
    NoSuchLetter {
        /// The id that was asked for.
        id: sawpit_model::MessageId,
    },
    /// The dead letter holds no log: it cannot be put back.
    #[error("the dead letter {id} holds no log: {cause}; it can be shown and purged, not replayed")]
    NotALog {
        /// The letter.
        id: sawpit_model::MessageId,
        /// What is wrong with its content.
        cause: String,
    },
}

impl QueueError {
    pub(crate) fn unavailable(cause: impl std::fmt::Display) -> Self {
        Self::Unavailable { cause: cause.to_string() }
    }

    pub(crate) fn unconfirmed(cause: impl std::fmt::Display) -> Self {
        Self::Unconfirmed { cause: cause.to_string() }
    }
}

impl ReadError {
    pub(crate) fn new(cause: impl std::fmt::Display) -> Self {
        Self { cause: cause.to_string() }
    }
}
