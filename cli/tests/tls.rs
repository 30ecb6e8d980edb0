//! Everything by TLS: devices to the host, the host and the worker to Redis and PostgreSQL, and what does not fit.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod support;

use std::net::SocketAddr;
use std::path::PathBuf;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use sawpit_testkit::{Launch, Postgres, Process, Redis, TempFolder, free_port};
use support::{SOON, free_address, run};

/// A certificate for `localhost`.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn make(folder: &TempFolder, name: &str) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) =
            (folder.join(&format!("{name}.pem")), folder.join(&format!("{name}.key.pem")));
        std::fs::write(&certificate, cert.pem()).unwrap();
        std::fs::write(&key, signing_key.serialize_pem()).unwrap();
        Self { certificate, key }
    }

    fn certificate(&self) -> &str {
        self.certificate.to_str().unwrap()
    }

    fn key(&self) -> &str {
        self.key.to_str().unwrap()
    }
}

/// Redis and PostgreSQL that serve by TLS, and the settings of who uses them.
struct Servers {
    folder: TempFolder,
    pair: Pair,
    redis: Redis,
    postgres: Postgres,
    queue: String,
}

impl Servers {
    fn start() -> Self {
        let folder = TempFolder::new("tls");
        let pair = Pair::make(&folder, "server");
        let port = free_port();
        let redis = Redis::with(&[
            ("tls-port", &port.to_string()),
            ("tls-cert-file", pair.certificate()),
            ("tls-key-file", pair.key()),
            ("tls-auth-clients", "no"),
        ]);
        let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
        let postgres = Postgres::with_tls(&read(&pair.certificate), &read(&pair.key));
        postgres.create_database("sawpit");
        Self { folder, pair, redis, postgres, queue: format!("rediss://localhost:{port}") }
    }

    /// The store, whose server must be vouched for by this certificate.
    fn store(&self, trusted: &Pair) -> String {
        let (port, trusted) = (self.postgres.port(), trusted.certificate());
        format!("postgres://postgres@localhost:{port}/sawpit?sslmode=verify-full&sslrootcert={trusted}")
    }

    /// A process that believes the server's certificate.
    fn process(&self, command: &str, flags: &[&str]) -> (SocketAddr, Process) {
        let (address, plugins) = (free_address(), self.folder.join("plugins"));
        std::fs::create_dir_all(&plugins).unwrap();
        let own =
            ["--listen", &address.to_string(), "--queue", &self.queue, "--store", &self.store(&self.pair)];
        let process = Launch::new(env!("CARGO_BIN_EXE_sawpit"))
            .arg(command)
            .args(own)
            .args(["--plugins", plugins.to_str().unwrap()])
            .args(flags)
            .env("SSL_CERT_FILE", &self.pair.certificate)
            .start();
        (address, process)
    }
}

#[test]
fn devices_redis_and_postgresql_by_tls() {
    let servers = Servers::start();
    let ca = servers.pair.certificate();
    let (host, _host) = servers.process("host", &["--tls-cert", ca, "--tls-key", servers.pair.key()]);
    let (worker, _worker) = servers.process("worker", &[]);
    let health = |url: &str, ca: &[&str]| run(&[&["health", "--url", url], ca].concat());
    let ready = format!("https://localhost:{}/health/ready", host.port());
    let deadline = std::time::Instant::now() + SOON;
    while !health(&ready, &["--ca", ca]).status.success() {
        assert!(std::time::Instant::now() < deadline, "{}", _host.output());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    _worker.wait_http(worker, "/health/ready", SOON);
    let url = format!("https://localhost:{}", host.port());
    let load = run(&["load", "--url", &url, "--ca", ca, "--seconds", "2", "--rate", "200", "--verify"]);
    let said = String::from_utf8_lossy(&load.stdout);
    assert!(load.status.success() && said.contains("0 missing, 0 doubled"), "{load:?}");
    // Nobody went around the certificates.
    let clear = "select count(*) from pg_stat_activity join pg_stat_ssl using (pid) \
                 where application_name = 'sawpit' and not ssl";
    assert_eq!(servers.postgres.query("sawpit", clear), "0");
    assert!(servers.postgres.query("sawpit", "select count(*) from logs").parse::<u32>().unwrap() > 100);
    let clients = servers.redis.command(&["CLIENT", "LIST"]);
    let plain = format!("laddr=127.0.0.1:{}", servers.redis.port());
    assert_eq!(clients.matches(&plain).count(), 1, "only who asks now is there in the clear: {clients}");
}

#[test]
fn a_server_that_nobody_vouches_for_is_not_spoken_to() {
    let servers = Servers::start();
    let other = Pair::make(&servers.folder, "other");
    let refused = |flags: &[&str]| {
        let output = run(&[&["host", "--listen", "127.0.0.1:0", "--plugins", "."], flags].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let said = refused(&["--queue", &servers.redis.url(), "--store", &servers.store(&other)]);
    assert!(said.contains("the store cannot be opened") && said.contains("certificate"), "{said}");
    // The system's authorities do not know it.
    let said = refused(&["--queue", &servers.queue, "--store", &servers.store(&servers.pair)]);
    assert!(said.contains("the queue cannot be opened") && said.contains("certificate"), "{said}");
    let health = run(&["health", "--url", &servers.queue.replace("rediss", "https"), "--ca", "missing.pem"]);
    let said = String::from_utf8_lossy(&health.stderr);
    assert!(said.contains("--ca") && said.contains("missing.pem"), "{said}");
}
