//! The native topology, each host and worker behind proxies of its own to Redis and PostgreSQL.
//!
//! What ends by itself is started again, as a supervisor would: a host that finds no Redis at its start gives up,
//! and that is right.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use anyhow::{Context, Result};
use sawpit_testkit::{
    ANSWER, GUESTS, Guest, Launch, Nginx, Postgres, Process, Redis, Signal, TRAP, TempFolder, answer,
    free_port, on_letter, put, workspace_root,
};

use crate::Settings;
use crate::plan::{CLIENTS, HOSTS, Link, Server, Target};
use crate::proxy::Proxy;

/// How long a process may take to be ready on a busy machine.
const READY: Duration = Duration::from_secs(90);
/// How long a process may take to end after SIGTERM before it is killed.
const END: Duration = Duration::from_secs(40);
/// The database.
const DATABASE: &str = "sawpit";
/// How Redis runs in `compose.yaml`.
const REDIS: [(&str, &str); 3] =
    [("appendfsync", "always"), ("maxmemory", "512mb"), ("maxmemory-policy", "volatile-lru")];

/// The running system. Fields end in the order they must stop in.
pub struct System {
    nginx: Nginx,
    clients: Vec<Client>,
    proxies: Vec<Proxy>,
    plugins: TempFolder,
    redis: Redis,
    postgres: Postgres,
    _compiled: TempFolder,
    swaps: Mutex<u8>,
}

/// A host or a worker.
struct Client {
    name: String,
    launch: Launch,
    address: SocketAddr,
    /// `None` while it is meant to be down.
    process: Mutex<Option<Process>>,
}

impl System {
    /// Starts everything and waits until it is ready. Output of the hosts and workers goes to files in
    /// [`Settings::logs`]. Servers that do not start end the run with a sentence.
    ///
    /// # Errors
    /// The plugins cannot be copied, or a path is not UTF-8.
    pub async fn start(settings: &Settings) -> Result<Self> {
        let plugins = plugin_folder(&settings.plugins)?;
        let (redis, postgres) = (Redis::with(&REDIS), Postgres::start());
        postgres.create_database(DATABASE);
        let proxies = proxies(redis.port(), postgres.port()).await?;
        let compiled = TempFolder::new("compiled");
        fs::create_dir_all(&settings.logs).with_context(|| settings.logs.display().to_string())?;
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            clients.push(Client::new(settings, client, &proxies, plugins.path(), compiled.path())?);
        }
        clients.iter().for_each(Client::start);
        clients.iter().for_each(Client::wait_ready);
        let conf = fs::read_to_string(workspace_root().join("nginx/nginx.conf"))?;
        let hosts: Vec<_> = clients.iter().take(HOSTS).map(|client| client.address).collect();
        let nginx = Nginx::start(&conf, &hosts);
        let swaps = Mutex::new(0);
        Ok(Self { nginx, clients, proxies, plugins, redis, postgres, _compiled: compiled, swaps })
    }

    /// Base addresses that devices may post to: nginx, then the hosts.
    #[must_use]
    pub fn doors(&self) -> Vec<String> {
        let hosts = self.clients.iter().take(HOSTS).map(|client| format!("http://{}", client.address));
        std::iter::once(self.nginx.url()).chain(hosts).collect()
    }

    /// Where hosts and workers answer `/health/ready`, each with its name.
    pub fn health(&self) -> impl Iterator<Item = (&str, String)> {
        self.clients.iter().map(|client| (&*client.name, format!("http://{}/health/ready", client.address)))
    }

    /// The queue itself, past the proxies.
    #[must_use]
    pub fn queue_url(&self) -> String {
        self.redis.url()
    }

    /// The store itself, past the proxies.
    #[must_use]
    pub fn store_url(&self) -> String {
        self.postgres.url(DATABASE)
    }

    /// What SQL answers, a line a row, `|` between columns.
    #[must_use]
    pub fn sql(&self, query: &str) -> String {
        self.postgres.query(DATABASE, query)
    }

    /// The number that a query answers.
    ///
    /// # Errors
    /// It answers something else.
    pub fn count(&self, query: &str) -> Result<u64> {
        self.sql(query).parse().with_context(|| format!("psql did not answer a number: {query}"))
    }

    /// The proxy of a link.
    #[must_use]
    pub fn proxy(&self, link: Link) -> Option<&Proxy> {
        self.proxies.get(place(link))
    }

    /// SIGKILL.
    pub fn kill(&self, target: Target) {
        match target {
            Target::Redis => self.redis.kill(),
            Target::Postgres => self.postgres.kill(),
            Target::Nginx => self.nginx.kill(),
            _ => self.with_client(target, |client| drop(client.process().take())),
        }
    }

    /// SIGTERM or what comes near it; returns when it has ended.
    pub fn stop(&self, target: Target) {
        match target {
            Target::Redis => self.redis.stop(),
            Target::Postgres => self.postgres.stop(),
            Target::Nginx => self.nginx.stop(),
            _ => self.with_client(target, Client::stop),
        }
    }

    /// SIGTERM to every host and worker; returns when all have ended. [`System::tend`] does not start them again.
    pub fn stop_clients(&self) {
        self.clients.iter().for_each(Client::stop);
    }

    /// Starts what was killed or stopped.
    pub fn start_again(&self, target: Target) {
        match target {
            Target::Redis => self.redis.restart(),
            Target::Postgres => self.postgres.restart(),
            Target::Nginx => self.nginx.restart(),
            _ => self.with_client(target, Client::start),
        }
    }

    /// SIGSTOP.
    pub fn pause(&self, target: Target) {
        match target {
            Target::Redis => self.redis.pause(),
            Target::Postgres => self.postgres.pause(),
            Target::Nginx => self.nginx.pause(),
            _ => self.with_client(target, |client| client.signal(Signal::STOP)),
        }
    }

    /// SIGCONT.
    pub fn resume(&self, target: Target) {
        match target {
            Target::Redis => self.redis.resume(),
            Target::Postgres => self.postgres.resume(),
            Target::Nginx => self.nginx.resume(),
            _ => self.with_client(target, |client| client.signal(Signal::CONT)),
        }
    }

    /// Puts another version of a plugin in place of it, which does other things with logs: the enricher sets another
    /// value, the transformer folds or does not, the filter keeps more or fewer. All of them keep the numbers of logs.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn swap(&self, plugin: usize) -> Result<()> {
        let name = GUESTS.get(plugin).context("no such plugin")?;
        let [wasm, manifest] = ["wasm", "toml"].map(|ending| self.plugins.join(&format!("{name}.{ending}")));
        let mut number = lock(&self.swaps);
        *number = number.wrapping_add(1);
        replace(&wasm, &another_build(fs::read(&wasm)?, *number))?;
        replace(&manifest, another_manifest(&fs::read_to_string(&manifest)?, *number)?.as_bytes())
    }

    /// Starts again the hosts and workers that ended by themselves, and names them.
    pub fn tend(&self) -> Vec<String> {
        self.clients.iter().filter(|client| client.tend()).map(|client| client.name.clone()).collect()
    }

    fn with_client(&self, target: Target, work: impl FnOnce(&Client)) {
        let number = match target {
            Target::Host(host) => host,
            Target::Worker(worker) => HOSTS + worker,
            Target::Redis | Target::Postgres | Target::Nginx => return,
        };
        if let Some(client) = self.clients.get(number) {
            work(client);
        }
    }
}

impl Client {
    fn new(
        settings: &Settings,
        number: usize,
        proxies: &[Proxy],
        plugins: &Path,
        compiled: &Path,
    ) -> Result<Self> {
        let address = free_address();
        let server = |server| {
            let proxy = proxies.get(place(Link { client: number, server }));
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

    fn start(&self) {
        *self.process() = Some(self.launch.start());
    }

    fn stop(&self) {
        if let Some(process) = self.process().take() {
            process.stop(Signal::TERM, END);
        }
    }

    fn wait_ready(&self) {
        if let Some(process) = &*self.process() {
            process.wait_http(self.address, "/health/ready", READY);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &*self.process() {
            process.signal(signal);
        }
    }

    /// Whether it had ended by itself; then it runs again.
    fn tend(&self) -> bool {
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
        lock(&self.process)
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a link's proxy is in the list.
fn place(link: Link) -> usize {
    link.client * 2 + usize::from(link.server == Server::Postgres)
}

async fn proxies(redis: u16, postgres: u16) -> Result<Vec<Proxy>> {
    let mut proxies = Vec::new();
    for _ in 0..CLIENTS {
        for port in [redis, postgres] {
            proxies.push(Proxy::start(free_address(), SocketAddr::from(([127, 0, 0, 1], port))).await?);
        }
    }
    Ok(proxies)
}

fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// The name of the transformer that fails.
pub const POISON: &str = "poison";

/// The examples with their manifests, the filter told to drop half of what is DEBUG, a transformer that drops all logs of
/// devices called `unwanted-…`, and one that fails on those called `poison-…`, and is called nevertheless.
fn plugin_folder(examples: &Path) -> Result<TempFolder> {
    let folder = TempFolder::new("plugins");
    for name in GUESTS {
        for ending in ["wasm", "toml"] {
            let file = PathBuf::from(format!("{name}.{ending}"));
            let from = examples.join(&file);
            fs::copy(&from, folder.path().join(&file)).with_context(|| from.display().to_string())?;
        }
    }
    let edit = |file: &str, from: &str, to: &str| -> Result<()> {
        let path = folder.join(file);
        let text = fs::read_to_string(&path)?;
        anyhow::ensure!(text.contains(from), "plugins/{file} has no line {from:?}: change chaos with it");
        Ok(fs::write(path, text.replace(from, to))?)
    };
    edit("filter.toml", "debug_keep = 1.0", "debug_keep = 0.5")?;
    fs::write(folder.join("unwanted.wasm"), dropper().wasm())?;
    fs::write(folder.join("unwanted.toml"), "match = { device_id = \"unwanted-*\" }\n")?;
    // Not on the sample logs of the trial: else it would not serve.
    let poison = Guest::new("transform", on_letter('X', TRAP)).named(POISON, "1.0.0");
    fs::write(folder.join("poison.wasm"), poison.wasm())?;
    let manifest =
        "on_error = \"reject\"\nmatch = { device_id = \"poison-*\" }\nbreaker = { failures = 0 }\n";
    fs::write(folder.join("poison.toml"), manifest)?;
    Ok(folder)
}

/// A transformer that drops every log that it is given.
fn dropper() -> Guest {
    // An entry is the input's place, and the reason's address and length: the guest's name. (wit/plugin.wit)
    let entries = "(local $i i32) (local $to i32)
        (block $done (loop $next
            (br_if $done (i32.ge_u (local.get $i) (i32.load (local.get $logs))))
            (local.set $to (i32.add (i32.const 32768) (i32.mul (local.get $i) (i32.const 12))))
            (i32.store (local.get $to) (local.get $i))
            (i32.store offset=4 (local.get $to) (i32.const 16))
            (i32.store offset=8 (local.get $to) (i32.const 8))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $next)))";
    let length = format!("(i32.store (i32.const {}) (i32.load (local.get $logs)))", ANSWER + 24);
    let body = [entries, &put(0, 1), &put(20, 32_768), &length, &answer()].concat();
    Guest::new("transform", body).named("unwanted", "1.0.0")
}

/// By rename, so that nobody reads half of it.
fn replace(file: &Path, bytes: &[u8]) -> Result<()> {
    let next = file.with_extension("next");
    fs::write(&next, bytes)?;
    Ok(fs::rename(next, file)?)
}

/// The manifest of another version: one setting of each plugin is changed.
fn another_manifest(text: &str, number: u8) -> Result<String> {
    let another = |line: &str| {
        let (key, value) = line.split_once(" = ")?;
        let value = match (key, value) {
            ("site", _) => &format!("\"version-{number}\""),
            ("debug_keep", "0.5") => "0.75",
            ("debug_keep", _) => "0.5",
            ("fold_seconds", "0") => "60",
            ("fold_seconds", _) => "0",
            _ => return None,
        };
        Some(format!("{key} = {value}"))
    };
    let lines: Vec<_> = text.lines().map(|line| another(line).unwrap_or_else(|| line.to_owned())).collect();
    let changed = lines.join("\n") + "\n";
    anyhow::ensure!(changed != text, "a manifest has no setting that a swap changes: change chaos with it");
    Ok(changed)
}

/// Appends a custom section: another file, the same plugin.
fn another_build(mut wasm: Vec<u8>, number: u8) -> Vec<u8> {
    // Section 0 of 7 bytes: a name of 5, and one byte. (WebAssembly core specification, 5.5.3)
    wasm.extend(*b"\0\x07\x05build");
    wasm.push(number);
    wasm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_of_each_plugin_is_set_otherwise() {
        for name in GUESTS {
            let file = workspace_root().join("plugins").join(name).join(format!("{name}.toml"));
            let first = fs::read_to_string(file).unwrap();
            let second = another_manifest(&first, 1).unwrap();
            let third = another_manifest(&second, 2).unwrap();
            assert!(first != second && second != third, "{name}");
        }
        assert!(another_manifest("on_error = \"pass\"\n", 1).is_err());
    }
}
