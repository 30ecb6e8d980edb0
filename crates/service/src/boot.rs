//! One way to start for all commands: logging, metrics, the async runtime, signals, health; then the
//! command's own function; then an exit code.

use std::fmt::Display;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use crate::shutdown::Cause;
use crate::telemetry::{Metrics, TelemetryError, TelemetrySettings, init_logging};
use crate::trace::{TraceError, TraceSettings};
use crate::{Clock, Health, Shutdown, Tracer};

/// How long one readiness check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the end of the process waits for blocking work that the command left behind.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked to do; for what runs until it is told to end, a drain on SIGTERM.
    Done = 0,
    /// It could not start, or failed.
    Failed = 1,
    /// Wrong settings or usage (`EX_USAGE` of sysexits.h).
    Usage = 64,
    /// It was interrupted by SIGINT, and drained; or before its work was done (128 + SIGINT). A second signal ends a
    /// process without a drain: 130 or 143 ([`crate::shutdown::Cause::exit_code`]).
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What every command is started with.
#[derive(Clone, Debug, Default)]
pub struct ProcessSettings {
    /// What is logged, and how.
    pub telemetry: TelemetrySettings,
    /// Threads of the async runtime; `None`: one per core.
    pub threads: Option<usize>,
    /// Where traces are sent, and which.
    pub traces: TraceSettings,
}

/// What every command is handed.
#[derive(Clone, Debug)]
pub struct Process {
    /// The machine's clock.
    pub clock: Clock,
    /// No checks yet; reports `draining` by itself.
    pub health: Health,
    /// The installed recorder.
    pub metrics: Metrics,
    /// Fired by the first SIGTERM or SIGINT.
    pub shutdown: Shutdown,
    /// Makes spans where traces are sent.
    pub tracer: Tracer,
}

/// Why a process did not come as far as its command.
#[derive(Debug, thiserror::Error)]
enum BootError {
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Traces(#[from] TraceError),
    #[error("the async runtime could not start: {0}; lower the thread count or raise the process limit")]
    Runtime(std::io::Error),
    #[error("signal handlers could not be set: {0}")]
    Signals(std::io::Error),
}

/// Starts the process, runs `command` in it, and says how it ended. An error is logged with its causes
/// (`{:#}`, as `anyhow` prints them).
pub fn run<F, Fut, E>(settings: &ProcessSettings, command: F) -> Exit
where
    F: FnOnce(Process) -> Fut,
    Fut: Future<Output = Result<Exit, E>>,
    E: Display,
{
    match start(settings) {
        Ok((runtime, process)) => {
            let tracer = process.tracer.clone();
            let shutdown = process.shutdown.clone();
            let exit = runtime.block_on(async { report(command(process).await) });
            let exit = ended(exit, shutdown.cause());
            runtime.shutdown_timeout(STOP_TIMEOUT);
            // Behind everything that may still end a span.
            tracer.shutdown();
            exit
        }
        Err(error) => report(Err(error)),
    }
}

/// Whoever waits for a process that a person interrupted learns of it, so that a script stops as well.
fn ended(exit: Exit, cause: Option<Cause>) -> Exit {
    match (exit, cause) {
        (Exit::Done, Some(Cause::Interrupt)) => Exit::Interrupted,
        (exit, _) => exit,
    }
}

fn report<E: Display>(outcome: Result<Exit, E>) -> Exit {
    outcome.unwrap_or_else(|error| {
        if tracing::event_enabled!(tracing::Level::ERROR) {
            tracing::error!("{error:#}");
        } else {
            // Logging is off or did not start; a failure must not be silent.
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("sawpit: {error:#}\n"));
        }
        Exit::Failed
    })
}

fn start(settings: &ProcessSettings) -> Result<(tokio::runtime::Runtime, Process), BootError> {
    init_logging(&settings.telemetry)?;
    let metrics = Metrics::install()?;
    let tracer = Tracer::start(&settings.traces)?;
    let runtime = runtime(settings.threads).map_err(BootError::Runtime)?;
    let shutdown = {
        let _context = runtime.enter();
        Shutdown::on_signals().map_err(BootError::Signals)?
    };
    runtime.spawn(metrics.clone().upkeep(shutdown.clone()));
    let health = Health::new(CHECK_TIMEOUT).with_shutdown(shutdown.clone());
    Ok((runtime, Process { clock: Clock::system(), health, metrics, shutdown, tracer }))
}

fn runtime(threads: Option<usize>) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.max(1));
    }
    builder.thread_name("async").enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_exit_1_and_others_keep_their_code() {
        assert_eq!(report::<String>(Ok(Exit::Interrupted)), Exit::Interrupted);
        assert_eq!(report(Err("no such folder")), Exit::Failed);
        assert_eq!(Exit::Usage as u8, 64);
    }
}
