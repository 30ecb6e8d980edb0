//! What an error of SQLite means, by its result code (sqlite.org/rescode.html).

use crate::error::Fault;

const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_INTERRUPT: u32 = 9;
const SQLITE_IOERR: u32 = 10;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_TOOBIG: u32 = 18;
const SQLITE_CONSTRAINT: u32 = 19;
const SQLITE_MISMATCH: u32 = 20;
const SQLITE_RANGE: u32 = 25;
const SQLITE_NOTADB: u32 = 26;

pub(super) fn of(error: &sqlx::Error) -> Fault {
    use sqlx::Error;
    match error {
        Error::Database(database) if database.message().contains("ledger.max_ms") => Fault::InLedger,
        Error::Database(_) => of_code(primary(error)),
        Error::Encode(_) | Error::InvalidArgument(_) | Error::Decode(_) | Error::ColumnDecode { .. } => {
            Fault::Data
        }
        Error::PoolTimedOut | Error::PoolClosed | Error::BeginFailed | Error::Configuration(_) => Fault::Away,
        _ => Fault::Unknown,
    }
}

/// What it did was ended: its time was over.
pub(super) fn is_interrupted(error: &sqlx::Error) -> bool {
    primary(error) == Some(SQLITE_INTERRUPT)
}

pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary(error), Some(SQLITE_BUSY | SQLITE_LOCKED))
}

fn of_code(code: Option<u32>) -> Fault {
    match code {
        Some(SQLITE_TOOBIG | SQLITE_CONSTRAINT | SQLITE_MISMATCH | SQLITE_RANGE) => Fault::Data,
        // A sync that failed: what was written may be on disk nonetheless.
        Some(SQLITE_IOERR) => Fault::Unknown,
        // Busy, full, read-only, cannot open, no memory, corrupt: none is the data's fault.
        _ => Fault::Away,
    }
}

/// What the driver says; of a damaged file also what to do, because waiting does not mend it.
pub(super) fn told(error: &sqlx::Error) -> String {
    match primary(error) {
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => format!(
            "{error}: the database's file is damaged; stop sawpit, keep a copy of the file, and restore it from a backup, or \
             what can be read of it by `.recover` of the sqlite3 shell"
        ),
        _ => error.to_string(),
    }
}

/// The low byte of the extended result code.
fn primary(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_caller_should_do() {
        for (code, fault) in [
            (SQLITE_BUSY, Fault::Away),
            (13, Fault::Away), // disk full
            (8, Fault::Away),  // read-only
            (SQLITE_CORRUPT, Fault::Away),
            (SQLITE_IOERR, Fault::Unknown),
            (SQLITE_TOOBIG, Fault::Data),
            (SQLITE_CONSTRAINT, Fault::Data),
        ] {
            assert_eq!(of_code(Some(code)), fault, "{code}");
        }
        assert_eq!(of(&sqlx::Error::PoolTimedOut), Fault::Away);
        assert_eq!(of(&sqlx::Error::WorkerCrashed), Fault::Unknown);
    }
}
