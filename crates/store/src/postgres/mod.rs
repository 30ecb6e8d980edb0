//! The store on PostgreSQL.
//!
//! A commit is one statement, so one round trip, and the server has no transaction to hold open when the
//! worker dies in the middle. Connections are checked before use only when they rested for a while.

/// Reads; and reads again when the connection turns out to be broken. After a restart of the server each
/// connection of the pool may be, and each is found out once: after as many tries as connections, one is new.
/// A macro: a function that takes an async closure makes futures that the compiler cannot prove `Send`.
macro_rules! read {
    ($pg:expr, $conn:ident => $work:expr) => {{
        let mut broken = $pg.pool.options().get_max_connections();
        loop {
            let mut held = $pg.acquire().await?;
            let $conn = &mut held;
            let answer = $pg.answer(async { $work }).await;
            if broken == 0 || !$crate::postgres::is_hung_up(&answer) {
                break $crate::postgres::checked(&mut held, answer);
            }
            broken = broken.saturating_sub(1);
            held.close_on_drop();
        }
    }};
}

mod chain;
mod commit;
mod fault;
mod lease;
mod maintain;
mod read;
mod retain;
mod rollup;
mod search;
mod server;
mod token;
mod verdict;

use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, Postgres};

use crate::chains::Chains;
use crate::error::{OpenError, StoreError};
use crate::search::IndexSettings;
use crate::settings::{StoreSettings, shown};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// `server_version_num` of PostgreSQL 15.
const OLDEST_VERSION: i32 = 150_000;

/// A connection that rested longer is checked before it is used: the server may have been restarted.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// How much longer than the server's own limit we wait for an answer: then the network or the server is gone.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(crate) struct Pg {
    pool: PgPool,
    chains: std::sync::Arc<Chains>,
    folding: std::sync::Arc<rollup::Folding>,
    answer_limit: Duration,
    pub(crate) index: IndexSettings,
}

impl Pg {
    pub(crate) async fn open(settings: &StoreSettings) -> Result<Self, OpenError> {
        let options = PgConnectOptions::from_str(&settings.url).map_err(|e| bad_url(settings, &e))?;
        let options = options.application_name("sawpit");
        migrate(&options, settings).await?;
        let timeout = format!("{}ms", settings.statement_timeout.as_millis());
        let options = options.options([("statement_timeout", timeout)]);
        let pool = pool_options(settings).connect_with(options).await;
        Ok(Self {
            pool: pool.map_err(|e| unreachable_server(settings, &e))?,
            chains: std::sync::Arc::default(),
            folding: std::sync::Arc::default(),
            answer_limit: settings.statement_timeout + GRACE,
            index: settings.index.clone(),
        })
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        read!(self, conn => sqlx::query("SELECT 1").execute(&mut **conn).await)?;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    async fn acquire(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        // Nothing was asked yet, so whatever went wrong, nothing was done.
        self.pool.acquire().await.map_err(|e| StoreError::Unavailable { cause: e.to_string() })
    }

    /// Waits for an answer no longer than the server itself would work on it, and a grace.
    async fn answer<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        let silent = || sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer"));
        tokio::time::timeout(self.answer_limit, work).await.unwrap_or_else(|_| Err(silent()))
    }
}

/// Whether the server ended the connection; not whether it is slow to answer, which a second try makes worse.
fn is_hung_up<T>(answer: &sqlx::Result<T>) -> bool {
    match answer {
        Err(sqlx::Error::Io(error)) => error.kind() != std::io::ErrorKind::TimedOut,
        Err(sqlx::Error::Database(error)) => error.code().is_some_and(|code| fault::ENDED.contains(&&*code)),
        _ => false,
    }
}

/// A connection that broke or fell silent is not used again.
fn retire_broken<T>(conn: &mut PoolConnection<Postgres>, answer: &sqlx::Result<T>) {
    if is_hung_up(answer) || matches!(answer, Err(sqlx::Error::Io(_) | sqlx::Error::Protocol(_))) {
        conn.close_on_drop();
    }
}

fn checked<T>(conn: &mut PoolConnection<Postgres>, answer: sqlx::Result<T>) -> Result<T, StoreError> {
    retire_broken(conn, &answer);
    answer.map_err(|e| StoreError::new(fault::of(&e), e))
}

fn pool_options(settings: &StoreSettings) -> PgPoolOptions {
    let kept = settings.pool.max(1);
    PgPoolOptions::new()
        .min_connections(kept)
        .max_connections(kept.saturating_add(settings.pool_extra))
        .acquire_timeout(settings.connect_timeout)
        .idle_timeout(settings.idle_timeout)
        .test_before_acquire(false)
        .before_acquire(|conn, meta| {
            Box::pin(async move {
                if meta.idle_for < TRUSTED_FOR {
                    return Ok(true);
                }
                Ok(conn.ping().await.is_ok())
            })
        })
        .after_connect(|conn, _| Box::pin(commit_durably(conn)))
}

/// A message is acknowledged on a commit, so the commit must be on disk, whatever the server's default is.
async fn commit_durably(conn: &mut PgConnection) -> sqlx::Result<()> {
    let ask = "SELECT set_config('synchronous_commit', 'on', false) \
               WHERE current_setting('synchronous_commit') = 'off'";
    conn.execute(ask).await?;
    Ok(())
}

/// Migrates on a connection of its own, without the time limit of statements: an index may take its time.
/// sqlx holds an advisory lock meanwhile, so that of several starting processes one does it.
async fn migrate(options: &PgConnectOptions, settings: &StoreSettings) -> Result<(), OpenError> {
    let connecting = tokio::time::timeout(settings.connect_timeout, options.connect());
    let mut conn = match connecting.await {
        Ok(conn) => conn.map_err(|e| unreachable_server(settings, &e))?,
        Err(_) => return Err(unreachable_server(settings, "no answer within the connect timeout")),
    };
    refuse_old_server(&mut conn, settings).await?;
    MIGRATIONS
        .run_direct(None, &mut conn, false)
        .await
        .map_err(|e| OpenError::Migration { cause: e.to_string() })?;
    let _ = conn.close().await; // The work is done; a failed farewell changes nothing.
    Ok(())
}

async fn refuse_old_server(conn: &mut PgConnection, settings: &StoreSettings) -> Result<(), OpenError> {
    let ask = "SELECT current_setting('server_version_num')::int, current_setting('server_version')";
    let version: sqlx::Result<(i32, String)> = sqlx::query_as(ask).fetch_one(conn).await;
    let (number, version) = version.map_err(|e| unreachable_server(settings, &e))?;
    if number < OLDEST_VERSION { Err(OpenError::TooOld { version }) } else { Ok(()) }
}

fn bad_url(settings: &StoreSettings, error: &sqlx::Error) -> OpenError {
    // Never the driver's words: they may quote a part of the URL, and so the password.
    let why = match error {
        sqlx::Error::Configuration(cause) if cause.is::<std::num::ParseIntError>() => "a number is expected",
        _ => "it cannot be parsed (percent-encode special characters of the password)",
    };
    OpenError::Url { url: shown(&settings.url), why: why.to_owned() }
}

fn unreachable_server(settings: &StoreSettings, cause: impl ToString) -> OpenError {
    OpenError::Unreachable { url: shown(&settings.url), cause: cause.to_string() }
}
