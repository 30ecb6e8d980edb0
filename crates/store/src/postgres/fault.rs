//! What an error of PostgreSQL means, by its SQLSTATE (appendix A of PostgreSQL's manual).

use sqlx::postgres::PgDatabaseError;

use crate::error::Fault;

/// The ledger's unique constraint, from the migration.
const LEDGER: &str = "ledger_last_id";

/// The server ended the session: told to shut down or to terminate it, or another of its processes crashed.
pub(super) const ENDED: [&str; 2] = ["57P01", "57P02"];

/// The server ended the statement: its time was over, or somebody cancelled it.
const CANCELLED: &str = "57014";

pub(super) fn is_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == CANCELLED)
}

pub(super) fn of(error: &sqlx::Error) -> Fault {
    use sqlx::Error;
    match error {
        Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let routine = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::routine);
            if error.constraint() == Some(LEDGER) { Fault::InLedger } else { of_state(&code, routine) }
        }
        Error::Encode(_) | Error::InvalidArgument(_) | Error::Decode(_) | Error::ColumnDecode { .. } => {
            Fault::Data
        }
        Error::PoolTimedOut | Error::PoolClosed | Error::Tls(_) | Error::Configuration(_) => Fault::Away,
        // Io, Protocol, a crashed worker, and what is not known: the answer was lost.
        _ => Fault::Unknown,
    }
}

/// Functions of the server that answer 54000 when it has no transaction ids left (`varsup.c`, `multixact.c`), until
/// somebody runs VACUUM.
const OUT_OF_IDS: [&str; 2] = ["GetNewTransactionId", "GetNewMultiXactId"];

fn of_state(code: &str, routine: Option<&str>) -> Fault {
    match code {
        "54000" if routine.is_some_and(|routine| OUT_OF_IDS.contains(&routine)) => Fault::Away,
        // No unique constraint but the ledger's hangs on a log; a sequence that stands too low does, in a restored copy.
        "23505" => Fault::Away,
        // The day's partition was attached while the row was on its way to the default partition. There is no
        // other check constraint. A second try is routed anew.
        "23514" => Fault::Away,
        // It may have been while an ended transaction waited for a standby.
        _ if ENDED.contains(&code) => Fault::Unknown,
        "40003" => Fault::Unknown,
        _ if code.starts_with("08") => Fault::Unknown,
        // Data exceptions, integrity constraints, and limits (such as a key too long for an index page).
        _ if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => Fault::Data,
        // Rolled back (40), out of resources (53), cancelled (57), I/O (58), locks (55), and a database that
        // must be mended by a person (28, 42): none is the data's fault.
        _ => Fault::Away,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_mean_what_the_caller_should_do() {
        for (code, fault) in [
            ("22021", Fault::Data),    // a NUL in text
            ("22P02", Fault::Data),    // not JSON
            ("23502", Fault::Data),    // null
            ("54000", Fault::Data),    // key too long for the index
            ("23505", Fault::Away),    // a sequence that stands too low
            ("23514", Fault::Away),    // routed while a partition was attached
            ("40001", Fault::Away),    // serialization
            ("40P01", Fault::Away),    // deadlock
            ("53100", Fault::Away),    // disk full
            ("53300", Fault::Away),    // too many connections
            ("57014", Fault::Away),    // statement timeout
            ("57P03", Fault::Away),    // starting up
            ("42P01", Fault::Away),    // someone dropped the table
            ("57P01", Fault::Unknown), // shut down
            ("08006", Fault::Unknown), // connection failure
            ("", Fault::Away),
        ] {
            assert_eq!(of_state(code, Some("ExecInsert")), fault, "{code}");
        }
        assert_eq!(of_state("54000", Some("GetNewTransactionId")), Fault::Away);
        assert_eq!(of(&sqlx::Error::PoolTimedOut), Fault::Away);
        assert_eq!(of(&sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())), Fault::Unknown);
    }
}
