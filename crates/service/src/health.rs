//! Whether the process is alive, and whether it can do its work now.
//!
//! Live means: the process answers; it never looks at others, or a database that is away would get every
//! healthy process restarted. Ready means: every named check passed within its time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use crate::Shutdown;

type Outcome = Result<(), String>;
type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

/// The named checks of a process. Clones share them.
#[derive(Clone)]
pub struct Health {
    checks: Arc<RwLock<Vec<(String, Check)>>>,
    timeout: Duration,
    shutdown: Option<Shutdown>,
}

/// What `/health/live` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Live {
    /// Always `live`: a process that is not cannot answer.
    pub status: &'static str,
}

/// What `/health/ready` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// The whole of it.
    pub status: ReadyStatus,
    /// Each check, in the order of registration.
    pub checks: Vec<CheckReport>,
}

/// Whether work should be sent to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyStatus {
    /// Send it work.
    Ready,
    /// A check failed: send work elsewhere.
    NotReady,
    /// It is ending: send work elsewhere, for good.
    Draining,
}

/// One check's last result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Its name, as in `queue`.
    pub name: String,
    /// `ok` or `failed`.
    pub status: CheckStatus,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// It passed.
    Ok,
    /// It failed, or did not end in time.
    Failed,
}

impl Ready {
    /// Whether work should be sent here.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status == ReadyStatus::Ready
    }
}

impl Health {
    /// No checks yet; each will have `timeout` to end.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { checks: Arc::default(), timeout, shutdown: None }
    }

    /// Reports `draining` once `shutdown` is requested.
    #[must_use]
    pub fn with_shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = Some(shutdown);
        self
    }

    /// Adds a check. An error's text is shown to whoever asks, so it must hold no secret.
    pub fn register<F, Fut>(&self, name: impl Into<String>, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.checks.write().unwrap_or_else(PoisonError::into_inner).push((name.into(), check));
    }

    /// Whether the process is alive.
    #[must_use]
    pub const fn live(&self) -> Live {
        Live { status: "live" }
    }

    /// Runs all checks at once and reports each.
    pub async fn ready(&self) -> Ready {
        let checks = self.run_checks().await;
        let failed = checks.iter().any(|check| check.status == CheckStatus::Failed);
        let status = match (&self.shutdown, failed) {
            (Some(shutdown), _) if shutdown.is_requested() => ReadyStatus::Draining,
            (_, true) => ReadyStatus::NotReady,
            (_, false) => ReadyStatus::Ready,
        };
        Ready { status, checks }
    }

    async fn run_checks(&self) -> Vec<CheckReport> {
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut running = JoinSet::new();
        for (place, (name, check)) in checks.into_iter().enumerate() {
            let timeout = self.timeout;
            running.spawn(async move { (place, run_check(name, check, timeout).await) });
        }
        let mut reports: Vec<_> = running.join_all().await;
        reports.sort_by_key(|(place, _)| *place);
        reports.into_iter().map(|(_, report)| report).collect()
    }
}

async fn run_check(name: String, check: Check, timeout: Duration) -> CheckReport {
    let started = Instant::now();
    // In a task of its own, so that a check that panics is a failed check.
    let outcome = tokio::time::timeout(timeout, tokio::spawn(check())).await;
    let error = match outcome {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(why))) => Some(why),
        Ok(Err(_)) => Some("the check itself broke; see the process's log".to_owned()),
        Err(_) => Some(format!("no answer within {timeout:?}")),
    };
    CheckReport {
        name,
        status: if error.is_none() { CheckStatus::Ok } else { CheckStatus::Failed },
        took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        error,
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = checks.iter().map(|(name, _)| name).collect();
        f.debug_struct("Health")
            .field("checks", &names)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new(Duration::from_millis(50))
    }

    #[tokio::test]
    async fn ready_names_each_check_in_order() {
        let health = health();
        health.register("queue", || async { Ok(()) });
        health.register("store", || async { Err("connection refused".to_owned()) });
        let ready = health.ready().await;
        assert_eq!(ready.status, ReadyStatus::NotReady);
        let seen: Vec<_> = ready.checks.iter().map(|c| (c.name.as_str(), c.error.as_deref())).collect();
        assert_eq!(seen, [("queue", None), ("store", Some("connection refused"))]);
    }

    #[tokio::test]
    async fn a_check_that_hangs_or_panics_has_failed() {
        let health = health();
        health.register("hangs", std::future::pending::<Outcome>);
        health.register("panics", || async { panic!("broken check") });
        let ready = health.ready().await;
        assert_eq!(ready.checks.len(), 2);
        assert!(ready.checks.iter().all(|check| check.status == CheckStatus::Failed));
        assert_eq!(ready.checks[0].error.as_deref(), Some("no answer within 50ms"));
    }

    #[tokio::test]
    async fn a_draining_process_is_live_and_not_ready() {
        let shutdown = Shutdown::new();
        let health = health().with_shutdown(shutdown.clone());
        assert!(health.ready().await.is_ready());
        shutdown.trigger();
        assert_eq!(health.ready().await.status, ReadyStatus::Draining);
        assert_eq!(health.live().status, "live");
    }
}
