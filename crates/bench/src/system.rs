//! The servers and processes of one measurement.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sawpit_testkit::{GUESTS, Launch, Postgres, Process, Redis, TempFolder, free_port};

/// How long a process may take to be ready, or the worker to drain.
const PATIENCE: Duration = Duration::from_secs(120);
/// Room for everything a measurement posts.
const BACKLOG: &str = "100000000";

/// Which plugins are in the folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Plugins {
    /// An empty folder.
    None,
    /// filter, enrich and transform with their own manifests.
    Examples,
}

/// Redis, PostgreSQL and a plugin folder, fresh for one measurement.
pub struct System {
    sawpit: PathBuf,
    plugins: TempFolder,
    redis: Redis,
    _postgres: Postgres,
    store: String,
}

/// A process that answers HTTP.
pub struct Running {
    pub address: SocketAddr,
    process: Process,
}

impl Running {
    /// What it printed so far.
    pub fn output(&self) -> String {
        self.process.output()
    }
}

impl System {
    /// # Errors
    /// The example plugins cannot be copied. (Servers that do not start end the run with a sentence.)
    pub fn start(sawpit: &Path, examples: &Path, plugins: Plugins) -> Result<Self> {
        let folder = TempFolder::new("plugins");
        if plugins == Plugins::Examples {
            for file in GUESTS.iter().flat_map(|name| [format!("{name}.wasm"), format!("{name}.toml")]) {
                let from = examples.join(&file);
                fs::copy(&from, folder.join(&file)).with_context(|| from.display().to_string())?;
            }
        }
        let (redis, postgres) = (Redis::start(), Postgres::start());
        let store = postgres.create_database("sawpit");
        Ok(Self { sawpit: sawpit.to_owned(), plugins: folder, redis, _postgres: postgres, store })
    }

    /// A host in front of the stream.
    ///
    /// # Errors
    /// The plugin folder's path is not UTF-8.
    pub fn host(&self) -> Result<Running> {
        self.host_with(&[])
    }

    /// The same with more flags.
    ///
    /// # Errors
    /// The plugin folder's path is not UTF-8.
    pub fn host_with(&self, flags: &[&str]) -> Result<Running> {
        self.run("host", &[&["--backlog-limit", BACKLOG], flags].concat())
    }

    /// Where a file of this name stands in the plugin folder.
    pub fn plugin_path(&self, name: &str) -> PathBuf {
        self.plugins.path().join(name)
    }

    fn run(&self, command: &str, more: &[&str]) -> Result<Running> {
        let address = free_address();
        let process = self.launch(command, address, more)?;
        process.wait_http(address, "/health/ready", PATIENCE);
        Ok(Running { address, process })
    }

    fn launch(&self, command: &str, address: SocketAddr, more: &[&str]) -> Result<Process> {
        let plugins = self.plugins.path().to_str().context("the temporary folder's path is not UTF-8")?;
        Ok(Launch::new(&self.sawpit)
            .args([command, "--listen", &address.to_string(), "--plugins", plugins])
            .args(["--queue", &self.redis.url(), "--store", &self.store])
            .args(more)
            .start())
    }

    /// Puts `logs` logs into the stream, through a host.
    ///
    /// # Errors
    /// The load run failed.
    pub fn fill(&self, logs: u64) -> Result<()> {
        let host = self.host()?;
        let file = self.plugins.path().with_extension("ndjson");
        let lines: String = (0..logs).map(line).collect();
        fs::write(&file, lines)?;
        let load = Launch::new(&self.sawpit)
            .args(["load", "--url", &format!("http://{}", host.address), "--batch", "1000", "--file"])
            .arg(&file)
            .start();
        let status = load.wait(PATIENCE);
        let _ = fs::remove_file(&file);
        if !status.is_some_and(|status| status.success()) {
            bail!("filling the stream failed:\n{}\n{}", load.output(), host.process.output());
        }
        Ok(())
    }

    /// Starts a worker and waits until the stream is empty; logs per second from its first batch on.
    ///
    /// # Errors
    /// It was not empty in time.
    pub fn drain(&self) -> Result<f64> {
        let full = self.backlog()?;
        let worker = self.launch("worker", free_address(), &[])?;
        let (mut first, mut left) = (None, full);
        let deadline = Instant::now() + PATIENCE;
        while left > 0 {
            if Instant::now() > deadline {
                bail!("{left} of {full} logs left:\n{}", worker.output());
            }
            std::thread::sleep(Duration::from_millis(5));
            left = self.backlog()?;
            if left < full && first.is_none() {
                first = Some((Instant::now(), left));
            }
        }
        let (since, then) = first.context("the stream was empty before the worker read from it")?;
        Ok(then as f64 / since.elapsed().as_secs_f64())
    }

    fn backlog(&self) -> Result<u64> {
        let answer = self.redis.command(&["XLEN", "logs:stream"]);
        answer.trim_start_matches(':').parse().with_context(|| format!("XLEN answered {answer:?}"))
    }
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// A log that the example filter takes, with an address that the example transform takes out.
fn line(n: u64) -> String {
    format!(
        "{{\"device_id\":\"sensor-{}\",\"log_level\":\"INFO\",\"message\":\"reading {n} sent to ops{n}@example.com\",\"log_data\":{{\"temperature\":{}.5,\"n\":{n}}}}}\n",
        n % 100,
        n % 60
    )
}
