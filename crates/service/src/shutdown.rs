//! How a process ends: the first SIGTERM or SIGINT asks it to drain, the second ends it at once.
//!
//! [`Shutdown`] carries the request to everything that loops.

use std::sync::Arc;

use tokio::sync::watch;

/// Why a process was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGINT: a person pressed Ctrl-C.
    Interrupt,
    /// SIGTERM: a supervisor ends the process.
    Terminate,
    /// The program itself, or a test: [`Shutdown::trigger`].
    Triggered,
}

impl Cause {
    /// The exit code when this signal arrives while the process already drains: 128 + the signal's number.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Triggered => 1,
        }
    }
}

/// The request to end. All clones are one token; once requested it stays requested.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<Option<Cause>>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A token that only [`Shutdown::trigger`] fires.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// A token fired by the first SIGTERM or SIGINT. The second ends the process, with 130 or 143.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the operating system refuses a signal handler.
    pub fn on_signals() -> std::io::Result<Self> {
        let shutdown = Self::new();
        let signals = Signals::new()?;
        tokio::spawn(obey(signals, shutdown.clone()));
        Ok(shutdown)
    }

    /// Asks the process to drain. Later calls change nothing.
    pub fn trigger(&self) {
        self.request(Cause::Triggered);
    }

    /// Whether the process was asked to drain.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Why, once it was asked.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        *self.0.borrow()
    }

    /// Waits until the process is asked to drain; at once when it already was.
    pub async fn requested(&self) {
        // Waiting fails only when the sender is gone, and `self` holds it.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    fn request(&self, cause: Cause) {
        self.0.send_if_modified(|state| state.is_none() && state.replace(cause).is_none());
    }
}

struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(not(unix))]
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(unix)]
    async fn next(&mut self) -> Cause {
        tokio::select! {
            _ = self.terminate.recv() => Cause::Terminate,
            _ = self.interrupt.recv() => Cause::Interrupt,
        }
    }

    #[cfg(not(unix))]
    async fn next(&mut self) -> Cause {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Cause::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}

async fn obey(mut signals: Signals, shutdown: Shutdown) {
    let first = signals.next().await;
    tracing::info!(cause = ?first, "draining: no new work is taken; a second signal ends the process at once");
    shutdown.request(first);
    let second = signals.next().await;
    tracing::warn!(cause = ?second, "second signal: ending at once, work in hand is left to be done again");
    std::process::exit(i32::from(second.exit_code()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_trigger_reaches_every_clone_and_stays() {
        let shutdown = Shutdown::new();
        let waiting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        assert!(!shutdown.is_requested());
        shutdown.trigger();
        waiting.await.unwrap();
        shutdown.requested().await;
        assert_eq!(shutdown.cause(), Some(Cause::Triggered));
    }

    #[test]
    fn the_first_cause_stays() {
        let shutdown = Shutdown::new();
        shutdown.request(Cause::Interrupt);
        shutdown.trigger();
        assert_eq!(shutdown.cause(), Some(Cause::Interrupt));
    }
}
