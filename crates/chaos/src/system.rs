//! The native topology: nginx, two hosts, Redis, two workers, PostgreSQL; the servers behind proxies.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use sawpit_testkit::{
    Guest, Launch, Nginx, Postgres, Process, Redis, Signal, TRAP, TempFolder, free_port, on_letter,
    workspace_root,
};

use crate::plan::{Fault, Link, Target};
use crate::proxy::{Mode, Proxy};

/// How long a process may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How late the packets of a delayed link are, in each direction.
const LATE: Duration = Duration::from_millis(150);
/// Messages of a worker that is silent for this long go to another. Short, so that a run has many such moments.
const RECLAIM_IDLE: &str = "3s";

/// A log with this letter in its message makes a plugin of the host trap.
pub const HOST_TRAPS_ON: char = 'J';
/// And this one a plugin of the worker.
pub const WORKER_TRAPS_ON: char = 'Q';

/// A process of ours, which can be started again.
struct Member {
    launch: Launch,
    address: SocketAddr,
    process: Mutex<Process>,
}

impl Member {
    fn start(launch: Launch, address: SocketAddr) -> Self {
        let process = Mutex::new(launch.start());
        Self { launch, address, process }
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_ready(&self) {
        self.process().wait_http(self.address, "/health/live", PATIENCE);
    }

    fn restart(&self) {
        let mut process = self.process();
        if !process.is_running() {
            *process = self.launch.start();
        }
    }
}

/// Fields end in the order in which they must stop: nginx first, the servers last.
pub struct System {
    nginx: Nginx,
    hosts: [Member; 2],
    workers: [Member; 2],
    plugins: TempFolder,
    transform: Vec<u8>,
    swaps: AtomicU8,
    queue_link: Proxy,
    store_link: Proxy,
    redis: Redis,
    postgres: Postgres,
    store: String,
}

impl System {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// The plugins cannot be copied. (Servers that do not start end the run with a sentence.)
    pub async fn start(sawpit: &Path, examples: &Path) -> Result<Self> {
        // As compose.yaml has it: what Redis answered is on its disk.
        let (redis, postgres) = (Redis::with(&[("appendfsync", "always")]), Postgres::start());
        let store = postgres.create_database("sawpit");
        let (queue_link, store_link) =
            (Proxy::start(redis.port()).await?, Proxy::start(postgres.port()).await?);
        let plugins = plugin_folder(examples)?;
        let transform = fs::read(plugins.join("transform.wasm")).context("there is no transform.wasm")?;
        let queue_url = redis.url().replace(&format!(":{}", redis.port()), &format!(":{}", queue_link.port));
        let store_url = store.replace(&format!(":{}", postgres.port()), &format!(":{}", store_link.port));
        let folder = plugins.path().to_str().context("the temporary folder's path is not UTF-8")?;
        let member = |command: &str, more: &[&str]| {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let launch = Launch::new(sawpit)
                .args([command, "--listen", &address.to_string(), "--plugins", folder])
                .args(["--queue", &queue_url, "--store", &store_url])
                .args(more);
            Member::start(launch, address)
        };
        let hosts = [member("host", &[]), member("host", &[])];
        let reclaim = ["--block", "1s", "--reclaim-idle", RECLAIM_IDLE];
        let workers = [member("worker", &reclaim), member("worker", &reclaim)];
        hosts.iter().chain(&workers).for_each(Member::wait_ready);
        let conf = fs::read_to_string(workspace_root().join("nginx/nginx.conf")).context("nginx.conf")?;
        let nginx = Nginx::start(&conf, &[hosts[0].address, hosts[1].address]);
        let swaps = AtomicU8::new(0);
        let system = Self {
            nginx,
            hosts,
            workers,
            plugins,
            transform,
            swaps,
            queue_link,
            store_link,
            redis,
            postgres,
            store,
        };
        Ok(system)
    }

    /// Where logs can be posted: through nginx, and to each host.
    pub fn urls(&self) -> Vec<String> {
        let hosts = self.hosts.iter().map(|host| format!("http://{}", host.address));
        std::iter::once(self.nginx.url()).chain(hosts).collect()
    }

    /// Redis itself, without the proxy.
    pub fn queue_url(&self) -> String {
        self.redis.url()
    }

    /// The database itself, without the proxy.
    pub fn store_url(&self) -> &str {
        &self.store
    }

    /// Makes it happen.
    ///
    /// # Errors
    /// A plugin cannot be written.
    pub fn inject(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill(target) => self.end(target, Signal::KILL),
            Fault::Terminate(target) => self.end(target, Signal::TERM),
            Fault::Freeze(target) => self.freeze(target),
            Fault::Cut(link) => self.link(link).set(Mode::Cut),
            Fault::Delay(link) => self.link(link).set(Mode::Delay(LATE)),
            Fault::Swap => self.swap()?,
        }
        Ok(())
    }

    /// Undoes it.
    pub fn heal(&self, fault: Fault) {
        match fault {
            Fault::Kill(target) | Fault::Terminate(target) => self.restart(target),
            Fault::Freeze(target) => self.thaw(target),
            Fault::Cut(link) | Fault::Delay(link) => self.link(link).set(Mode::Pass),
            Fault::Swap => {}
        }
    }

    /// Waits until all of ours answer.
    pub fn wait_ready(&self) {
        self.hosts.iter().chain(&self.workers).for_each(|member| {
            member.restart();
            member.wait_ready();
        });
    }

    /// What each of our processes printed since its last start, for a run that ends badly.
    pub fn outputs(&self) -> Vec<(String, String)> {
        let names = ["host 1", "host 2", "worker 1", "worker 2"];
        let members = self.hosts.iter().chain(&self.workers);
        names.iter().zip(members).map(|(name, it)| ((*name).to_owned(), it.process().output())).collect()
    }

    fn link(&self, link: Link) -> &Proxy {
        match link {
            Link::Queue => &self.queue_link,
            Link::Store => &self.store_link,
        }
    }

    fn member(&self, target: Target) -> Option<&Member> {
        match target {
            Target::Host(number) => self.hosts.get(number),
            Target::Worker(number) => self.workers.get(number),
            _ => None,
        }
    }

    fn end(&self, target: Target, signal: Signal) {
        let kill = signal == Signal::KILL;
        match target {
            Target::Redis if kill => self.redis.kill(),
            Target::Redis => self.redis.stop(),
            Target::Postgres if kill => self.postgres.kill(),
            Target::Postgres => self.postgres.stop(),
            Target::Nginx if kill => self.nginx.kill(),
            Target::Nginx => self.nginx.stop(),
            Target::Host(_) | Target::Worker(_) => {
                if let Some(member) = self.member(target) {
                    member.process().signal(signal);
                }
            }
        }
    }

    fn freeze(&self, target: Target) {
        match target {
            Target::Redis => self.redis.pause(),
            Target::Postgres => self.postgres.pause(),
            Target::Nginx => self.nginx.pause(),
            Target::Host(_) | Target::Worker(_) => {
                if let Some(member) = self.member(target) {
                    member.process().pause();
                }
            }
        }
    }

    fn thaw(&self, target: Target) {
        match target {
            Target::Redis => self.redis.resume(),
            Target::Postgres => self.postgres.resume(),
            Target::Nginx => self.nginx.resume(),
            Target::Host(_) | Target::Worker(_) => {
                if let Some(member) = self.member(target) {
                    member.process().resume();
                }
            }
        }
    }

    fn restart(&self, target: Target) {
        match target {
            Target::Redis => self.redis.restart(),
            Target::Postgres => self.postgres.restart(),
            Target::Nginx => self.nginx.restart(),
            Target::Host(_) | Target::Worker(_) => {
                if let Some(member) = self.member(target) {
                    // One that was told to end may still be draining.
                    member.process().wait(PATIENCE);
                    member.restart();
                }
            }
        }
    }

    /// The same code under another hash: a custom section (WebAssembly core specification 5.5.3) at its end.
    fn swap(&self) -> Result<()> {
        let number = self.swaps.fetch_add(1, Ordering::Relaxed);
        let section = [0, 5, 4, b's', b'w', b'a', number];
        let next = self.plugins.join(".transform.next");
        fs::write(&next, [self.transform.as_slice(), &section].concat()).context("writing a plugin")?;
        fs::rename(next, self.plugins.join("transform.wasm")).context("moving a plugin in")
    }
}

/// The example plugins, and one for the host and one for the worker that trap now and then.
fn plugin_folder(examples: &Path) -> Result<TempFolder> {
    let folder = TempFolder::new("plugins");
    for entry in fs::read_dir(examples).with_context(|| examples.display().to_string())? {
        let entry = entry?;
        fs::copy(entry.path(), folder.join(&entry.file_name().to_string_lossy()))?;
    }
    for (name, stage, letter) in
        [("trap-enrich", "enrich", HOST_TRAPS_ON), ("trap-transform", "transform", WORKER_TRAPS_ON)]
    {
        let guest = Guest::new(stage, on_letter(letter, TRAP)).named(name, "1.0.0");
        fs::write(folder.join(&format!("{name}.toml")), "on_error = \"quarantine\"\nbreaker.failures = 0\n")?;
        fs::write(folder.join(&format!("{name}.wasm")), guest.wasm())?;
    }
    Ok(folder)
}
