//! The native topology, each host and worker behind proxies of its own to Redis and PostgreSQL.
//!
//! What ends by itself is started again, as a supervisor would: a host that finds no Redis at its start gives up,
//! and that is right.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use sawpit_testkit::{Nginx, Postgres, Redis, Signal, TempFolder, free_port, workspace_root};

use crate::Settings;
use crate::client::Client;
use crate::plan::{CLIENTS, HOSTS, Link, Target};
use crate::plugins::Plugins;
use crate::proxy::Proxy;

/// The database.
pub const DATABASE: &str = "sawpit";
/// How Redis runs in `compose.yaml`.
const REDIS: [(&str, &str); 3] =
    [("appendfsync", "always"), ("maxmemory", "512mb"), ("maxmemory-policy", "volatile-lru")];

/// The running system. Fields end in the order they must stop in.
pub struct System {
    nginx: Nginx,
    clients: Vec<Client>,
    proxies: Vec<Proxy>,
    plugins: Plugins,
    redis: Redis,
    postgres: Postgres,
    _compiled: TempFolder,
}

impl System {
    /// Starts everything and waits until it is ready. Output of the hosts and workers goes to files in
    /// [`Settings::logs`]. Servers that do not start end the run with a sentence.
    ///
    /// # Errors
    /// The plugins cannot be copied, or a path is not UTF-8.
    pub async fn start(settings: &Settings) -> Result<Self> {
        let plugins = Plugins::new(&settings.plugins)?;
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
        Ok(Self { nginx, clients, proxies, plugins, redis, postgres, _compiled: compiled })
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
        self.proxies.get(link.place())
    }

    /// SIGKILL.
    pub fn kill(&self, target: Target) {
        match target {
            Target::Redis => self.redis.kill(),
            Target::Postgres => self.postgres.kill(),
            Target::Nginx => self.nginx.kill(),
            _ => self.with_client(target, Client::kill),
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

    /// Puts another version of a plugin in place of it: see [`Plugins::swap`].
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn swap(&self, plugin: usize) -> Result<()> {
        self.plugins.swap(plugin)
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

async fn proxies(redis: u16, postgres: u16) -> Result<Vec<Proxy>> {
    let mut proxies = Vec::new();
    for _ in 0..CLIENTS {
        for port in [redis, postgres] {
            proxies.push(Proxy::start(free_address(), SocketAddr::from(([127, 0, 0, 1], port))).await?);
        }
    }
    Ok(proxies)
}

/// An address where nobody listens.
pub fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}
