//! The circuit breaker: a plugin that keeps failing is not called for a while.
//!
//! A plugin that traps on every call costs a new instance each time, one that loops costs its whole deadline.
//! After enough of that it is bypassed: its logs get what `on_error` says without a call. Once it has rested,
//! one call probes it: success closes the breaker, failure opens it again.
//!
//! What counts are calls, not logs. A list that fails is tried log by log, and is itself not counted: a single
//! poisoned log among a hundred is one failure beside 99 successes. The share of failures decides too, so that
//! nobody switches a plugin off for all by sending a few logs that it cannot take. What a single device can cost the
//! others, its time, is dealt with in `suspects`: there each device has a breaker of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge};
use sawpit_model::Timestamp;
use serde::Serialize;

use crate::trace::FRAME;
use crate::{CallError, convert};

/// Longest text that says what a bypassed plugin failed with, in bytes.
const LAST_ERROR_BYTES: usize = 512;

/// When a plugin is bypassed, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// So many failed calls open it; 0: it never opens.
    pub failures: u32,
    /// They must fall into this much time, counted from the first of them.
    pub window: Duration,
    /// And be at least this share of the calls since the first of them, 1 to 100 percent.
    pub percent: u8,
    /// How long the plugin is bypassed before one call probes it.
    pub rest: Duration,
}

impl BreakerLimits {
    /// Longest window and rest: one hour.
    pub const TIME_MAX: Duration = Duration::from_secs(3_600);
    /// Most failures.
    pub const FAILURES_MAX: u32 = 1_000_000;

    /// The key and the rule of the first limit that does not hold.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let times = Duration::from_millis(1)..=Self::TIME_MAX;
        let millis =
            |time: Duration| format!("must be 1 to {}, not {}", Self::TIME_MAX.as_millis(), time.as_millis());
        if self.failures > Self::FAILURES_MAX {
            let rule = format!("must be 0 (never) to {}, not {}", Self::FAILURES_MAX, self.failures);
            return Err(("breaker.failures", rule));
        }
        if !times.contains(&self.window) {
            return Err(("breaker.window_ms", millis(self.window)));
        }
        if !(1..=100).contains(&self.percent) {
            return Err(("breaker.percent", format!("must be 1 to 100, not {}", self.percent)));
        }
        if !times.contains(&self.rest) {
            return Err(("breaker.rest_ms", millis(self.rest)));
        }
        Ok(())
    }
}

impl Default for BreakerLimits {
    /// 5 failures that are half of the calls within 10 seconds; 5 seconds of rest.
    fn default() -> Self {
        Self { failures: 5, window: Duration::from_secs(10), percent: 50, rest: Duration::from_secs(5) }
    }
}

/// Whether a plugin is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It is bypassed.
    Open,
    /// One call is under way to see whether it works again; the others bypass it.
    HalfOpen,
}

/// Where the breaker of a version stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerStatus {
    /// Whether the plugin is called.
    pub state: BreakerState,
    /// How often it went from closed to open.
    pub opened: u64,
    /// Since when it has not been closed; none while it is.
    pub since: Option<Timestamp>,
}

/// What a caller may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Call.
    Call,
    /// Call; the breaker waits for how it goes.
    Probe,
    /// Do not call. What the plugin failed with, one line.
    Bypass(String),
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<'a> {
    /// With an answer that keeps the contract.
    Well,
    /// The plugin failed.
    Failed(&'a CallError),
    /// It says nothing of the plugin: a list that is tried log by log next, or no free instance.
    Unsaid,
    /// It used up the deadline on the logs of a suspect, whose own breaker has it: it says nothing of the plugin either,
    /// and others need not rest because of it.
    OneDevice,
}

/// The breaker of one version of one plugin.
pub struct Breaker {
    limits: BreakerLimits,
    /// `name@version` where somebody is told when it opens and closes.
    id: Option<String>,
    inner: Mutex<Inner>,
    open: Gauge,
    opened: Counter,
    bypassed: Counter,
}

#[derive(Default)]
struct Inner {
    phase: Phase,
    opened: u64,
    since: Option<Timestamp>,
    last_error: String,
}

enum Phase {
    /// Calls since the first failure of the window.
    Closed {
        began: Option<Timestamp>,
        failures: u32,
        successes: u64,
    },
    Open {
        rests_from: Timestamp,
    },
    /// A probe that never comes back is given up after another rest.
    HalfOpen {
        probed_at: Timestamp,
    },
}

impl Default for Phase {
    fn default() -> Self {
        Self::Closed { began: None, failures: 0, successes: 0 }
    }
}

impl Breaker {
    /// The breaker of a version that serves.
    pub fn new(limits: BreakerLimits, name: &str, version: &str) -> Self {
        let labels = [("plugin", name.to_owned()), ("version", version.to_owned())];
        let open = metrics::gauge!("sawpit_plugin_breaker_open", &labels);
        open.set(0.0);
        let opened = metrics::counter!("sawpit_plugin_breaker_opened_total", &labels);
        let bypassed = metrics::counter!("sawpit_plugin_bypassed_logs_total", &labels);
        Self {
            limits,
            id: Some(format!("{name}@{version}")),
            inner: Mutex::default(),
            open,
            opened,
            bypassed,
        }
    }

    /// One that never opens and shows in no graph.
    pub fn for_trial() -> Self {
        Self::unseen(BreakerLimits { failures: 0, ..BreakerLimits::default() })
    }

    /// One that shows in no graph and tells nobody.
    pub fn unseen(limits: BreakerLimits) -> Self {
        let (open, opened, bypassed) = (Gauge::noop(), Counter::noop(), Counter::noop());
        Self { limits, id: None, inner: Mutex::default(), open, opened, bypassed }
    }

    /// Asked before each call.
    pub fn admit(&self, now: Timestamp) -> Admission {
        self.admit_after(self.limits.rest, now)
    }

    /// Asked before each call with the logs of a suspect alone. Such a call probes only when nobody else's did for another
    /// rest: it is likely to fail, and for all.
    pub fn admit_suspect(&self, now: Timestamp) -> Admission {
        self.admit_after(self.limits.rest.saturating_mul(2), now)
    }

    fn admit_after(&self, rest: Duration, now: Timestamp) -> Admission {
        let mut inner = self.lock();
        let rested_from = match inner.phase {
            Phase::Closed { .. } => return Admission::Call,
            Phase::Open { rests_from } => rests_from,
            Phase::HalfOpen { probed_at } => probed_at,
        };
        if within(rested_from, now, rest) {
            return Admission::Bypass(inner.last_error.clone());
        }
        inner.phase = Phase::HalfOpen { probed_at: now };
        Admission::Probe
    }

    /// Told after each call that was admitted.
    pub fn settle(&self, probe: bool, ended: Ended<'_>, now: Timestamp) {
        let mut inner = self.lock();
        match (&mut inner.phase, ended) {
            (Phase::Closed { began: None, .. }, Ended::Well)
            | (Phase::Closed { .. }, Ended::Unsaid | Ended::OneDevice) => {}
            (Phase::Closed { successes, .. }, Ended::Well) => *successes += 1,
            (Phase::Closed { .. }, Ended::Failed(error)) => self.failed(&mut inner, error, now),
            // A call that began before the breaker opened says nothing new.
            _ if !probe => {}
            (_, Ended::Well) => self.close(&mut inner),
            (_, Ended::Failed(error)) => {
                inner.last_error = one_line(error);
                inner.phase = Phase::Open { rests_from: now };
            }
            (_, Ended::Unsaid) => inner.phase = Phase::Open { rests_from: now },
            (_, Ended::OneDevice) => inner.phase = Phase::Open { rests_from: before(now, self.limits.rest) },
        }
    }

    /// Counts logs that passed by without a call.
    pub fn bypassed(&self, logs: usize) {
        self.bypassed.increment(logs as u64);
    }

    pub fn status(&self) -> BreakerStatus {
        let inner = self.lock();
        let state = match inner.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        };
        BreakerStatus { state, opened: inner.opened, since: inner.since }
    }

    fn failed(&self, inner: &mut Inner, error: &CallError, now: Timestamp) {
        let Phase::Closed { began, failures, successes } = &mut inner.phase else { return };
        match *began {
            Some(since) if within(since, now, self.limits.window) => *failures = failures.saturating_add(1),
            _ => (*began, *failures, *successes) = (Some(now), 1, 0),
        }
        let (failures, successes) = (u64::from(*failures), *successes);
        let share = failures * 100 >= u64::from(self.limits.percent) * failures.saturating_add(successes);
        if self.limits.failures > 0 && failures >= u64::from(self.limits.failures) && share {
            inner.phase = Phase::Open { rests_from: now };
            inner.since = Some(now);
            inner.opened += 1;
            inner.last_error = one_line(error);
            self.open.set(1.0);
            self.opened.increment(1);
            if let Some(plugin) = &self.id {
                let (error, rest) = (&inner.last_error, self.limits.rest);
                tracing::warn!(
                    plugin,
                    failures,
                    error,
                    "it keeps failing and is not called for {rest:?}: on_error decides"
                );
            }
        }
    }

    /// Closes it, whatever happened before.
    pub fn reset(&self) {
        let mut inner = self.lock();
        self.close(&mut inner);
    }

    fn close(&self, inner: &mut Inner) {
        if let Some(plugin) = self.id.as_ref().filter(|_| inner.since.is_some()) {
            tracing::info!(plugin, "it works again and is called");
        }
        inner.phase = Phase::default();
        inner.since = None;
        inner.last_error.clear();
        self.open.set(0.0);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Breaker {
    /// A version that is gone is not left in the graphs as open.
    fn drop(&mut self) {
        if self.lock().since.is_some() {
            self.open.set(0.0);
        }
    }
}

/// Whether less than `span` has passed. A clock that was set back counts as past it.
pub fn within(since: Timestamp, now: Timestamp, span: Duration) -> bool {
    let passed = now.as_micros().saturating_sub(since.as_micros());
    u128::try_from(passed).is_ok_and(|passed| passed < span.as_micros())
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(span))
}

/// What failed, without where in the guest. Its beginning is left out where it is long: a traceback ends with what
/// matters.
fn one_line(error: &CallError) -> String {
    let text = error.to_string();
    let said: Vec<_> = text.lines().take_while(|line| !line.starts_with(FRAME)).map(str::trim).collect();
    convert::end_of(&said.join("; "), LAST_ERROR_BYTES).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BreakerLimits = BreakerLimits {
        failures: 3,
        window: Duration::from_millis(10),
        percent: 50,
        rest: Duration::from_millis(20),
    };

    fn breaker() -> Breaker {
        Breaker::unseen(LIMITS)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1_000)
    }

    fn fail(breaker: &Breaker, millis: i64) {
        let error = CallError::Trap("Traceback:\n  File \"a.py\"\nboom\n  at f\n  at g".to_owned());
        breaker.settle(false, Ended::Failed(&error), at(millis));
    }

    fn opened(at_millis: i64) -> Breaker {
        let breaker = breaker();
        (0..3).for_each(|_| fail(&breaker, at_millis));
        breaker
    }

    #[test]
    fn it_opens_at_the_limit_and_not_before() {
        let breaker = breaker();
        fail(&breaker, 0);
        fail(&breaker, 9);
        assert_eq!(breaker.admit(at(9)), Admission::Call);
        fail(&breaker, 9);
        assert_eq!(breaker.admit(at(9)), Admission::Bypass("Traceback:; File \"a.py\"; boom".to_owned()));
        let status = breaker.status();
        assert_eq!((status.state, status.opened, status.since), (BreakerState::Open, 1, Some(at(9))));
    }

    #[test]
    fn failures_further_apart_than_the_window_do_not_add_up() {
        let breaker = breaker();
        for millis in [0, 9, 10, 19, 20, 29] {
            fail(&breaker, millis);
        }
        assert_eq!(breaker.status().state, BreakerState::Closed);
    }

    #[test]
    fn few_failures_among_many_calls_do_not_open_it() {
        let breaker = breaker();
        fail(&breaker, 0);
        (0..10).for_each(|_| breaker.settle(false, Ended::Well, at(1)));
        (0..5).for_each(|_| fail(&breaker, 2));
        assert_eq!(breaker.status().state, BreakerState::Closed, "6 of 16");
        (0..4).for_each(|_| fail(&breaker, 3));
        assert_eq!(breaker.status().state, BreakerState::Open, "10 of 20");
    }

    #[test]
    fn it_rests_and_then_one_call_probes() {
        let breaker = opened(0);
        assert!(matches!(breaker.admit(at(19)), Admission::Bypass(_)));
        assert_eq!(breaker.admit(at(20)), Admission::Probe);
        assert_eq!(breaker.status().state, BreakerState::HalfOpen);
        assert!(matches!(breaker.admit(at(20)), Admission::Bypass(_)), "one probe at a time");
        breaker.settle(true, Ended::Well, at(21));
        assert_eq!(breaker.status(), BreakerStatus { state: BreakerState::Closed, opened: 1, since: None });
        assert_eq!(breaker.admit(at(21)), Admission::Call);
    }

    #[test]
    fn of_a_long_error_the_end_is_told() {
        let said = one_line(&CallError::Trap(format!("{}\nboom\n  at f", "é".repeat(1_000))));
        assert!((LAST_ERROR_BYTES - 1..=LAST_ERROR_BYTES).contains(&said.len()), "{}", said.len());
        assert!(said.ends_with("é; boom"), "{said}");
    }

    #[test]
    fn a_probe_that_fails_opens_it_for_another_rest() {
        let breaker = opened(0);
        assert_eq!(breaker.admit(at(20)), Admission::Probe);
        breaker.settle(true, Ended::Failed(&CallError::Trap("again".to_owned())), at(25));
        assert_eq!(breaker.admit(at(44)), Admission::Bypass("again".to_owned()));
        assert_eq!(breaker.admit(at(45)), Admission::Probe);
        let status = breaker.status();
        assert_eq!((status.opened, status.since), (1, Some(at(0))));
    }

    #[test]
    fn calls_from_before_do_not_close_it_and_lost_probes_are_given_up() {
        let breaker = opened(0);
        breaker.settle(false, Ended::Well, at(1));
        assert_eq!(breaker.status().state, BreakerState::Open);
        assert_eq!(breaker.admit(at(20)), Admission::Probe);
        assert_eq!(breaker.admit(at(40)), Admission::Probe);
    }

    #[test]
    fn a_suspect_probes_only_when_nobody_else_did_and_its_deadline_keeps_nobody_waiting() {
        let breaker = opened(0);
        assert!(matches!(breaker.admit_suspect(at(39)), Admission::Bypass(_)));
        assert_eq!(breaker.admit_suspect(at(40)), Admission::Probe);
        breaker.settle(true, Ended::OneDevice, at(41));
        assert!(matches!(breaker.admit_suspect(at(41)), Admission::Bypass(_)));
        assert_eq!(breaker.admit(at(41)), Admission::Probe);
        breaker.settle(true, Ended::Well, at(42));
        assert_eq!(breaker.admit_suspect(at(42)), Admission::Call);
    }

    #[test]
    fn what_one_device_costs_never_opens_it() {
        let breaker = breaker();
        (0..100).for_each(|_| breaker.settle(false, Ended::OneDevice, at(0)));
        assert_eq!(breaker.admit(at(0)), Admission::Call);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_keep_it_open() {
        assert_eq!(opened(1_000).admit(at(0)), Admission::Probe);
    }

    #[test]
    fn zero_failures_never_open_it() {
        let breaker = Breaker::for_trial();
        (0..100).for_each(|_| fail(&breaker, 0));
        assert_eq!(breaker.admit(at(0)), Admission::Call);
    }
}
