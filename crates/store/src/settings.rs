//! Where the database is and how it is used.

use std::fmt;
use std::time::Duration;

use crate::search::{Index, IndexSettings};

/// Where the database is and how many connections it may cost. Each field is a setting of the program: `--store`, and
/// `--store-` with the field's name; those of `index` have names of their own.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// `postgres://user:password@host:port/database`, or `sqlite:path` of a file that is made when missing.
    pub url: String,
    /// Connections kept open, at least 1. SQLite: readers; it has one writer besides.
    pub pool: u32,
    /// Connections opened when those are busy, closed again when idle. PostgreSQL only.
    pub pool_extra: u32,
    /// Longest wait for a connection: for a free one, or for a new one to be made.
    pub connect_timeout: Duration,
    /// How long a connection beyond `pool` may be idle before it is closed.
    pub idle_timeout: Duration,
    /// Longest that one statement may run in PostgreSQL; longest wait for the write lock in SQLite.
    pub statement_timeout: Duration,
    /// What a commit indexes for searching.
    pub index: IndexSettings,
    /// Indexes that nobody decided about: they are kept, whatever `index` says of them, if workers kept them before.
    pub undecided: Vec<Index>,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            url: "sqlite:sawpit-data/logs.db".to_owned(),
            pool: 10,
            pool_extra: 5,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(60),
            statement_timeout: Duration::from_secs(30),
            index: IndexSettings::default(),
            undecided: Vec::new(),
        }
    }
}

impl fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSettings")
            .field("url", &shown(&self.url))
            .field("pool", &self.pool)
            .field("pool_extra", &self.pool_extra)
            .field("connect_timeout", &self.connect_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("index", &self.index)
            .field("undecided", &self.undecided)
            .finish()
    }
}

/// `url` without what may be secret: the password, and the parameters (which may hold one).
pub(crate) fn shown(url: &str) -> String {
    let (base, parameters) = url.split_once('?').unwrap_or((url, ""));
    let ellipsis = if url.contains('?') { "?…" } else { "" };
    let Some((scheme, rest)) = base.split_once("://") else { return format!("{base}{ellipsis}") };
    match rest.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{scheme}://{user}:…@{host}{ellipsis}")
        }
        // A password with a question mark in it, or a parameter with an @: not to be told apart.
        None if parameters.contains('@') => format!("{scheme}://…"),
        None => format!("{scheme}://{rest}{ellipsis}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_secret() {
        for (url, expected) in [
            ("postgres://me:p:w@db:5432/logs", "postgres://me:…@db:5432/logs"),
            ("postgres://me:p@w@db/logs?password=pw", "postgres://me:…@db/logs?…"),
            ("postgres://db/logs?password=pw&sslmode=disable", "postgres://db/logs?…"),
            ("postgres://me:pw?pw@db/logs", "postgres://…"),
            ("postgres://db/logs", "postgres://db/logs"),
            ("sqlite:data/logs.db", "sqlite:data/logs.db"),
        ] {
            assert_eq!(shown(url), expected);
            let settings = StoreSettings { url: url.to_owned(), ..Default::default() };
            assert!(!format!("{settings:?}").contains("pw"), "{settings:?}");
        }
    }
}
