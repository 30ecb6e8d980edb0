//! The store on SQLite: one file, write-ahead log, one writer and several readers.
//!
//! `synchronous = FULL`, so that a commit is on disk when it is answered: messages are acknowledged on it.
//! Writers of other processes wait for the write lock, which every transaction here takes at its start.

mod chain;
mod commit;
mod fault;
mod lease;
mod read;
mod retain;
mod rollup;
mod search;
mod server;
mod token;
mod verdict;

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, Transaction};

use crate::chains::Chains;
use crate::error::{OpenError, StoreError};
use crate::search::IndexSettings;
use crate::settings::StoreSettings;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Takes the write lock at once: a transaction that starts as a reader could fail half way.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Pause between tries to open a file that another process is just switching to its write-ahead log.
const OPEN_PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone, Debug)]
pub(crate) struct Lite {
    writer: SqlitePool,
    readers: SqlitePool,
    chains: Arc<Chains>,
    pub(crate) index: IndexSettings,
}

impl Lite {
    pub(crate) async fn open(settings: &StoreSettings) -> Result<Self, OpenError> {
        let options = options(settings)?;
        migrate(&options, settings).await?;
        let unreachable = |e: sqlx::Error| unreachable_file(settings, &e);
        let writer = pool(settings, 1).connect_with(options.clone()).await.map_err(unreachable)?;
        let readers = pool(settings, settings.pool.max(1));
        let readers = readers.connect_with(options.read_only(true)).await.map_err(unreachable)?;
        Ok(Self { writer, readers, chains: Arc::default(), index: settings.index.clone() })
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        let answer = sqlx::query("SELECT 1").execute(&mut *self.reader().await?).await;
        checked(answer)?;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.readers.acquire().await.map_err(|e| StoreError::Unavailable { cause: e.to_string() })
    }

    /// On a full disk SQLite ends a transaction by itself. The driver does not notice, and would refuse every later one on
    /// that connection for ever: it is given up for a new one.
    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let away = |e: sqlx::Error| StoreError::Unavailable { cause: fault::told(&e) };
        match self.writer.begin_with(BEGIN).await {
            Err(sqlx::Error::InvalidSavePointStatement) => {
                self.writer.acquire().await.map_err(away)?.close().await.map_err(away)?;
                self.writer.begin_with(BEGIN).await.map_err(away)
            }
            begun => begun.map_err(away),
        }
    }
}

fn checked<T>(answer: sqlx::Result<T>) -> Result<T, StoreError> {
    answer.map_err(|e| StoreError::new(fault::of(&e), fault::told(&e)))
}

fn options(settings: &StoreSettings) -> Result<SqliteConnectOptions, OpenError> {
    let bad_url = |why: &str| OpenError::Url { url: settings.url.clone(), why: why.to_owned() };
    if settings.url.contains(":memory:") || settings.url.contains("mode=memory") {
        return Err(bad_url("a database in memory would lose what was acknowledged"));
    }
    let options = SqliteConnectOptions::from_str(&settings.url).map_err(|e| bad_url(&e.to_string()))?;
    Ok(options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(settings.statement_timeout))
}

fn pool(settings: &StoreSettings, connections: u32) -> SqlitePoolOptions {
    // A file does not go away like a server: no check before use, no limit of life.
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(settings.connect_timeout.max(settings.statement_timeout))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_release(|conn, _| Box::pin(without_end(conn)))
}

/// A search may have been given an end, and its caller may have left before it: the next is not to be ended by it.
async fn without_end(conn: &mut SqliteConnection) -> sqlx::Result<bool> {
    conn.lock_handle().await?.remove_progress_handler();
    Ok(true)
}

/// sqlx takes no lock on SQLite; the transaction around all migrations is one, also against other processes.
async fn migrate(options: &SqliteConnectOptions, settings: &StoreSettings) -> Result<(), OpenError> {
    let mut conn = connect(options, settings).await.map_err(|e| unreachable_file(settings, &e))?;
    let failed = |e: &dyn std::fmt::Display| match e.to_string() {
        cause if is_of_file(&cause) => OpenError::File { url: settings.url.clone(), cause },
        cause => OpenError::Migration { cause },
    };
    let mut tx = conn.begin_with(BEGIN).await.map_err(|e| failed(&e))?;
    MIGRATIONS.run_direct(None, &mut *tx, false).await.map_err(|e| failed(&e))?;
    tx.commit().await.map_err(|e| failed(&e))?;
    conn.close().await.map_err(|e| failed(&e))
}

/// While one process switches a new file to the write-ahead log, the others are told "locked" at once: SQLite
/// does not wait here as it does for a write.
async fn connect(options: &SqliteConnectOptions, settings: &StoreSettings) -> sqlx::Result<SqliteConnection> {
    let deadline = Instant::now() + settings.connect_timeout;
    loop {
        match options.connect().await {
            Err(error) if fault::is_busy(&error) && Instant::now() < deadline => {
                tokio::time::sleep(OPEN_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

fn unreachable_file(settings: &StoreSettings, cause: &sqlx::Error) -> OpenError {
    let (url, cause) = (settings.url.clone(), cause.to_string());
    if is_of_file(&cause) { OpenError::File { url, cause } } else { OpenError::Unreachable { url, cause } }
}

/// Whether it is SQLITE_CORRUPT or SQLITE_NOTADB, in SQLite's own fixed words: the error of a migration hides the code.
fn is_of_file(cause: &str) -> bool {
    cause.contains("database disk image is malformed") || cause.contains("file is not a database")
}
