//! What can go wrong, by what the caller does next.

/// Why the store could not be opened. Nothing is changed halfway: migrations are transactions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL names no database that we know.
    #[error(
        "store URL {url}: {why}; give postgres://user:password@host:port/database, or sqlite:path/of/file.db"
    )]
    Url {
        /// The URL, without its password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The database cannot be reached or refuses us.
    #[error("cannot open the store {url}: {cause}; check that the server runs and that the URL is right")]
    Unreachable {
        /// The URL, without its password.
        url: String,
        /// What the driver or the server says.
        cause: String,
    },
    /// The database's file is foreign or damaged. Nothing was changed in it.
    #[error("cannot use the store {url}: {cause}; nothing was overwritten: restore the file or move it away")]
    File {
        /// The URL.
        url: String,
        /// What the library says.
        cause: String,
    },
    /// The server is older than what the SQL is written for.
    #[error("PostgreSQL {version} is too old: install version 15 or newer")]
    TooOld {
        /// The server's version, as in `14.9`.
        version: String,
    },
    /// The tables could not be made or brought up to date.
    #[error(
        "cannot migrate the store: {cause}; the user needs the right to create tables, and a store that a \
             newer sawpit has migrated needs that version"
    )]
    Migration {
        /// What the database says.
        cause: String,
    },
}

/// Why a question was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database is away, busy or full: ask again later.
    #[error("the store is not available: {cause}; try again later")]
    Unavailable {
        /// What the driver or the server says.
        cause: String,
    },
    /// It took longer than [`crate::LogQuery::time_limit`] and was ended: ask for less.
    #[error(
        "the search took longer than {limit:?} and was ended; ask for a shorter time, a device or a rarer word"
    )]
    TooLong {
        /// The limit.
        limit: std::time::Duration,
    },
    /// The database does not accept a value of the question, or a stored row cannot be read back.
    #[error("the store cannot answer this: {cause}; asking again will not help")]
    Refused {
        /// What the driver or the server says.
        cause: String,
    },
}

/// Why a batch was not committed, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Another worker fenced this lease, or a later process took it: nothing was stored. The messages are now
    /// another's; take a new lease and go on with newly read ones.
    #[error(
        "this worker's lease was taken from it: take a new lease and leave these messages to their new owner"
    )]
    Fenced,
    /// The database is away, busy or full: wait, then commit the same batch again.
    #[error("the store is not available ({outcome}): {cause}; wait and commit the same batch again")]
    Unavailable {
        /// What the driver or the server says.
        cause: String,
        /// Whether the batch may have been stored nonetheless.
        outcome: Outcome,
    },
    /// The data is at fault, and nothing was stored: halve the batch to find the message, and bury that.
    #[error(
        "the store refuses the data of this batch: {cause}; halve the batch to find the message at fault"
    )]
    Refused {
        /// What the driver or the server says.
        cause: String,
    },
    /// A *different* batch that held some of these messages is committed already, and nothing was stored: ask
    /// [`crate::Store::committed`], leave those messages out and commit the rest.
    #[error("some messages of this batch are stored already: ask which are committed and leave them out")]
    Overlap,
}

/// Whether a commit that failed may have been carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Surely not: commit again whenever you like, in any composition.
    NotCommitted,
    /// The connection broke while the answer was under way; the server may even still be at it. Commit the
    /// *same* batch again: the ledger recognises it, waits for the first try if it still runs, and answers Ok
    /// without storing it twice. To compose another batch of these messages, first take a new lease (which
    /// waits for or stops the first try), then ask [`crate::Store::committed`].
    Unknown,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotCommitted => "nothing was stored",
            Self::Unknown => "whether the batch was stored is unknown",
        })
    }
}

/// What a backend makes of a driver's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Away, busy or full, and surely nothing was done.
    Away,
    /// Away, and what was asked may have been done.
    Unknown,
    /// A value is at fault.
    Data,
    /// The ledger holds the last id of this batch already.
    InLedger,
}

impl StoreError {
    pub(crate) fn new(fault: Fault, cause: impl std::fmt::Display) -> Self {
        let cause = cause.to_string();
        match fault {
            Fault::Away | Fault::Unknown => Self::Unavailable { cause },
            Fault::Data | Fault::InLedger => Self::Refused { cause },
        }
    }

    pub(crate) fn unreadable(what: impl std::fmt::Display) -> Self {
        Self::Refused { cause: format!("a stored value cannot be read: {what}") }
    }
}

impl CommitError {
    pub(crate) fn new(fault: Fault, cause: impl std::fmt::Display) -> Self {
        let cause = cause.to_string();
        match fault {
            Fault::Away => Self::Unavailable { cause, outcome: Outcome::NotCommitted },
            Fault::Unknown => Self::Unavailable { cause, outcome: Outcome::Unknown },
            Fault::Data => Self::Refused { cause },
            Fault::InLedger => Self::Overlap,
        }
    }
}

impl From<StoreError> for CommitError {
    /// For a question asked before anything of the batch was sent.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { cause } => Self::Unavailable { cause, outcome: Outcome::NotCommitted },
            StoreError::TooLong { .. } => {
                Self::Unavailable { cause: error.to_string(), outcome: Outcome::NotCommitted }
            }
            StoreError::Refused { cause } => Self::Refused { cause },
        }
    }
}
