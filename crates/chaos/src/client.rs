//! A host or a worker: how it is started, and started again.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use anyhow::{Context, Result};
use sawpit_testkit::{Launch, Process, Signal};

use crate::Settings;
use crate::plan::{HOSTS, Link, Server};
use crate::proxy::Proxy;
use crate::system::{DATABASE, free_address};

/// How long a process may take to be ready on a busy machine.
const READY: Duration = Duration::from_secs(90);
/// How long a process may take to end after SIGTERM before it is killed.
const END: Duration = Duration::from_secs(40);

/// A host or a worker.
pub struct Client {
    /// `host-1`, `worker-2`.
    pub name: String,
    launch: Launch,
    /// Where it listens.
    pub address: SocketAddr,
    /// `None` while it is meant to be down.
    process: Mutex<Option<Process>>,
}

impl Client {
    /// One that is not started yet.
    ///
    /// # Errors
    /// A link has no proxy.
    pub fn new(
        settings: &Settings,
        number: usize,
        proxies: &[Proxy],
        plugins: &Path,
        compiled: &Path,
    ) -> Result<Self> {
        let address = free_address();
        let server = |server| {
            let proxy = proxies.get(Link { client: number, server }.place());
            proxy.map(Proxy::address).context("a proxy for each link")
        };
        let queue = format!("redis://{}", server(Server::Redis)?);
        let store = format!("postgres://postgres@{}/{DATABASE}", server(Server::Postgres)?);
        let (command, name) = match number.checked_sub(HOSTS) {
            None => ("host", format!("host-{}", number + 1)),
            Some(worker) => ("worker", format!("worker-{}", worker + 1)),
        };
        let log = settings.logs.join(format!("{name}.log"));
        // Another run's would be read as this one's.
        let _ = fs::remove_file(&log);
        let mut launch = Launch::new(&settings.sawpit)
            .args([command, "--listen", &address.to_string(), "--queue", &queue, "--store", &store])
            .arg("--plugins")
            .arg(plugins)
            .arg("--plugin-cache")
            .arg(compiled)
            .args(flags(command, &name))
            .log(log);
        if let Some(broken) = settings.broken {
            let (variable, value) = broken.variable();
            launch = launch.env(variable, value);
        }
        Ok(Self { name, launch, address, process: Mutex::new(None) })
    }

    /// Starts the process.
    pub fn start(&self) {
        *self.process() = Some(self.launch.start());
    }

    /// SIGKILL.
    pub fn kill(&self) {
        drop(self.process().take());
    }

    /// SIGTERM; returns when it has ended.
    pub fn stop(&self) {
        if let Some(process) = self.process().take() {
            process.stop(Signal::TERM, END);
        }
    }

    /// Returns when it is ready, if it runs.
    pub fn wait_ready(&self) {
        if let Some(process) = &*self.process() {
            process.wait_http(self.address, "/health/ready", READY);
        }
    }

    /// Sends a signal, if it runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = &*self.process() {
            process.signal(signal);
        }
    }

    /// Whether it had ended by itself; then it runs again.
    pub fn tend(&self) -> bool {
        let mut process = match self.process.try_lock() {
            Ok(process) => process,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Somebody is stopping or starting it.
            Err(TryLockError::WouldBlock) => return false,
        };
        let ended = process.as_ref().is_some_and(|process| !process.is_running());
        if ended {
            *process = Some(self.launch.start());
        }
        ended
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Short times, so that in a run of minutes much is delivered again.
fn flags(command: &str, name: &str) -> Vec<String> {
    let mut flags = vec!["--drain-timeout=8s".to_owned(), "--threads=1".to_owned()];
    if command == "worker" {
        flags.extend(["--block=500ms", "--reclaim-idle=3s", "--retry-max=1s"].map(str::to_owned));
        // A name that is used again, and names that are made up: what was left is found in different ways.
        if name.ends_with('1') {
            flags.push(format!("--worker-name={name}"));
        }
    }
    flags
}
