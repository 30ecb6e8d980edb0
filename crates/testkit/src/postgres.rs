//! A PostgreSQL server of the test's own.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::{Signal, geteuid};

use crate::process::{Launch, Process};
use crate::temp::TempFolder;
use crate::{ports, program};

const INITDB_LIMIT: Duration = Duration::from_secs(120);
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A PostgreSQL server (15 or newer) in a folder of its own, superuser `postgres`, no password. Its settings
/// are the defaults, fsync included. Dropping it ends it at once.
#[derive(Debug)]
pub struct Postgres {
    process: Mutex<Process>,
    launch: Launch,
    bin: PathBuf,
    port: u16,
    _folder: TempFolder,
}

impl Postgres {
    /// Creates a cluster and starts a server on it. Takes a few seconds: share one among the tests of a
    /// file, each with a database of its own.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start, saying what to do or what it printed.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Like [`start`](Self::start), with server settings, such as `("fsync", "off")`.
    #[track_caller]
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self::made(settings, |_, _| {})
    }

    /// Like [`start`](Self::start), with `ssl` on and this certificate and key, as PEM.
    #[track_caller]
    pub fn with_tls(certificate: &str, key: &str) -> Self {
        Self::made(&[("ssl", "on")], |data, user| {
            for (name, text) in [("server.crt", certificate), ("server.key", key)] {
                let path = data.join(name);
                fs::write(&path, text).expect("the folder is ours");
                // It refuses a key that others can read.
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
                if let Some((user, group)) = user {
                    chown(&path, Some(user), Some(group)).expect("root may give a file away");
                }
            }
        })
    }

    /// `prepare` is given the data folder before the server starts, and whose it is.
    #[track_caller]
    fn made(settings: &[(&str, &str)], prepare: impl FnOnce(&Path, Option<(u32, u32)>)) -> Self {
        let bin = program::postgres_bin();
        let folder = TempFolder::new("postgres");
        let user = server_user();
        if let Some((user, group)) = user {
            chown(folder.path(), Some(user), Some(group)).expect("root may give a folder away");
        }
        let port = ports::free_port();
        let launch = Launch::new(bin.join("postgres")).user(user).folder(folder.path());
        initdb(&bin, &folder, user);
        prepare(&folder.join("data"), user);
        // Immediate shutdown: the server ends its children and gives back its shared memory.
        let launch = server_args(launch, &folder, port, settings).on_orphaned(Signal::QUIT);
        let process = Mutex::new(start(&launch, &bin, port));
        Self { process, launch, bin, port, _folder: folder }
    }

    /// `postgres://postgres@127.0.0.1:PORT/database`; the same after a restart.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on 127.0.0.1; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates an empty database and returns its URL.
    ///
    /// # Panics
    /// When the server refuses, with its words.
    #[track_caller]
    pub fn create_database(&self, name: &str) -> String {
        self.query("postgres", &format!("CREATE DATABASE \"{name}\""));
        self.url(name)
    }

    /// Runs SQL with `psql` and returns what it prints: a line per row, `|` between columns. For tests that
    /// may not name a database client.
    ///
    /// # Panics
    /// When a statement fails, with the server's words.
    #[track_caller]
    pub fn query(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &self.url(database), "-c", sql]);
        let output = psql.output().unwrap_or_else(|e| panic!("cannot start psql: {e}"));
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "psql could not run {sql:?}: {failed}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// SIGKILL to the server and all its children: transactions that were not flushed are lost.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Fast shutdown: transactions are rolled back, connections closed.
    pub fn stop(&self) {
        // Children that are paused would not hear of it.
        self.resume();
        self.process().stop(Signal::INT, STOP_LIMIT);
    }

    /// Starts it again, on the same port and data; stops it first when it runs.
    #[track_caller]
    pub fn restart(&self) {
        self.stop();
        *self.process() = start(&self.launch, &self.bin, self.port);
    }

    /// SIGSTOP to the server and all its children: connections stay open and get no answer, and transactions stay
    /// where they are.
    pub fn pause(&self) {
        self.process().signal_all(Signal::STOP);
    }

    /// SIGCONT to the server and all its children.
    pub fn resume(&self) {
        self.process().signal_all(Signal::CONT);
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.process().stop(Signal::QUIT, STOP_LIMIT);
    }
}

fn initdb(bin: &Path, folder: &TempFolder, user: Option<(u32, u32)>) {
    let process = Launch::new(bin.join("initdb"))
        .args(["--auth=trust", "--no-sync", "--username=postgres", "--encoding=UTF8", "--locale=C"])
        .arg("-D")
        .arg(folder.join("data"))
        .user(user)
        .folder(folder.path())
        .start();
    let status = process.wait(INITDB_LIMIT);
    assert!(
        status.is_some_and(|status| status.success()),
        "initdb failed ({status:?}); it printed:\n{}",
        process.output()
    );
}

fn server_args(launch: Launch, folder: &TempFolder, port: u16, settings: &[(&str, &str)]) -> Launch {
    let sockets = folder.path().display();
    let own = [
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        format!("unix_socket_directories={sockets}"),
    ];
    let given = settings.iter().map(|(name, value)| format!("{name}={value}"));
    let options = own.into_iter().chain(given).flat_map(|setting| ["-c".to_owned(), setting]);
    launch.arg("-D").arg(folder.join("data")).args(options).log(folder.join("postgres.log"))
}

fn start(launch: &Launch, bin: &Path, port: u16) -> Process {
    let process = launch.start();
    let mut probe = Command::new(bin.join("pg_isready"));
    probe.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
    process.wait_for("answer to pg_isready", START_LIMIT, || {
        let status = probe.status().unwrap_or_else(|e| panic!("cannot start pg_isready: {e}"));
        status.success().then_some(())
    });
    process
}

/// PostgreSQL refuses to run as root; then the ids of the user `postgres`, whom its package creates.
fn server_user() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = ids_of("postgres", &passwd);
    Some(ids.expect(
        "PostgreSQL does not run as root and there is no user postgres: run `useradd --system postgres`",
    ))
}

/// The user and group id of `user` in the text of /etc/passwd.
fn ids_of(user: &str, passwd: &str) -> Option<(u32, u32)> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(user))?;
    let mut ids = line.split(':').skip(2).map(|id| id.parse().ok());
    Some((ids.next()??, ids.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::thread;

    #[test]
    fn starts_survives_a_kill_restarts_and_stops() {
        let postgres = Postgres::start();
        let url = postgres.create_database("first");
        assert_eq!(url, postgres.url("first"));
        postgres.query("first", "CREATE TABLE t(n int); INSERT INTO t VALUES (7)");
        postgres.kill();
        assert!(TcpStream::connect(("127.0.0.1", postgres.port())).is_err());
        postgres.restart();
        assert_eq!(postgres.query("first", "SELECT n FROM t"), "7");
        assert_eq!(postgres.query("first", "SHOW fsync"), "on");
        postgres.restart();
        assert_eq!(postgres.query("first", "SELECT n FROM t"), "7");
        let port = postgres.port();
        drop(postgres);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }

    /// A session that is open already is the one that would go on.
    #[test]
    fn a_paused_server_holds_open_sessions_still_and_answers_once_resumed() {
        let postgres = Postgres::start();
        postgres.query("postgres", "CREATE TABLE t(n int)");
        thread::scope(|scope| {
            let slow = || postgres.query("postgres", "SELECT pg_sleep(0.5); INSERT INTO t VALUES (1)");
            let session = scope.spawn(slow);
            let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            while postgres.query("postgres", sleeps) != "1" {}
            postgres.pause();
            thread::sleep(Duration::from_secs(2));
            assert!(!session.is_finished(), "a session went on");
            postgres.resume();
            session.join().unwrap();
        });
        assert_eq!(postgres.query("postgres", "SELECT count(*) FROM t"), "1");
        postgres.pause();
        postgres.restart();
        assert_eq!(postgres.query("postgres", "SELECT count(*) FROM t"), "1");
    }

    #[test]
    fn takes_settings() {
        let postgres = Postgres::with(&[("fsync", "off"), ("max_connections", "17")]);
        assert_eq!(postgres.query("postgres", "SHOW fsync"), "off");
        assert_eq!(postgres.query("postgres", "SHOW max_connections"), "17");
    }

    #[test]
    fn reads_ids_from_passwd() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104:admin:/var/lib:/bin/sh\n";
        assert_eq!(ids_of("postgres", passwd), Some((101, 104)));
        assert_eq!(ids_of("post", passwd), None);
    }
}
