//! A `redis-server` of the test's own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Launch, Process, exchange};
use crate::temp::TempFolder;
use crate::{ports, program, resp};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A Redis server with its append-only file on, in a folder of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Redis {
    process: Mutex<Process>,
    launch: Launch,
    port: u16,
    folder: TempFolder,
}

impl Redis {
    /// Starts a server that writes its append-only file every second (`appendfsync everysec`).
    ///
    /// # Panics
    /// When redis-server is not installed or does not start, saying what to do or what it printed.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Like [`start`](Self::start), with settings of `redis.conf` added, such as `("maxmemory", "1mb")` or
    /// `("appendfsync", "always")`.
    #[track_caller]
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let folder = TempFolder::new("redis");
        let port = ports::free_port();
        let conf = folder.join("redis.conf");
        fs::write(&conf, conf_text(port, &folder, settings)).expect("the folder is ours");
        let launch = Launch::new(program::find("redis-server", "redis-server"))
            .arg(conf)
            .folder(folder.path())
            .log(folder.join("redis.log"));
        let process = Mutex::new(start(&launch, port));
        Self { process, launch, port, folder }
    }

    /// `redis://127.0.0.1:PORT`; the same after a restart.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs one command and returns the answer as text: `+OK`, `:3` and `-ERR …` as they come, a string as its
    /// content, `(nil)`, an array as one line per element. For tests that may not name a client.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> String {
        let answer = resp::ask(address(self.port), words);
        answer.unwrap_or_else(|e| panic!("redis on port {} does not answer {words:?}: {e}", self.port))
    }

    /// SIGKILL: what was not written to disk is lost.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// SIGTERM: writes its file, then ends.
    pub fn stop(&self) {
        self.process().stop(Signal::TERM, STOP_LIMIT);
    }

    /// Starts it again, on the same port and folder; stops it first when it runs.
    #[track_caller]
    pub fn restart(&self) {
        self.stop();
        *self.process() = start(&self.launch, self.port);
    }

    /// Its files as they are now, to come back to with [`restart_with_files`](Self::restart_with_files).
    ///
    /// # Panics
    /// When they cannot be copied.
    #[must_use]
    pub fn copy_of_files(&self) -> TempFolder {
        let copy = TempFolder::new("redis-copy");
        copy_files(&self.folder.join(FILES), &copy.join(FILES));
        copy
    }

    /// Kills it and starts it again with the files of an earlier moment: what it was told since, it has forgotten, as a
    /// replica has that takes over too early.
    ///
    /// # Panics
    /// When the files cannot be put in place.
    #[track_caller]
    pub fn restart_with_files(&self, copy: &TempFolder) {
        self.kill();
        fs::remove_dir_all(self.folder.join(FILES)).expect("its files are there");
        copy_files(&copy.join(FILES), &self.folder.join(FILES));
        self.restart();
    }

    /// SIGSTOP: connections stay open and get no answer.
    pub fn pause(&self) {
        self.process().pause();
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.process().resume();
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Where Redis 7 keeps its append-only files, in its folder.
const FILES: &str = "appendonlydir";

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder is ours");
    for file in fs::read_dir(from).expect("redis 7 keeps its files there") {
        let file = file.expect("it can be listed");
        fs::copy(file.path(), to.join(file.file_name())).expect("it can be copied");
    }
}

fn conf_text(port: u16, folder: &TempFolder, settings: &[(&str, &str)]) -> String {
    let mut text = format!(
        "bind 127.0.0.1\nport {port}\ndir {}\ndaemonize no\nsave \"\"\nappendonly yes\nappendfsync everysec\n",
        folder.path().display()
    );
    for (name, value) in settings {
        text += &format!("{name} {value}\n");
    }
    text
}

fn start(launch: &Launch, port: u16) -> Process {
    let process = launch.start();
    // -LOADING while it reads its file back: listening is not enough.
    process.wait_for("answer to PING", START_LIMIT, || {
        exchange(address(port), b"PING\r\n", 16).filter(|answer| answer.starts_with("+PONG"))
    });
    process
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn starts_keeps_data_over_a_restart_and_stops() {
        let redis = Redis::start();
        assert_eq!(redis.url(), format!("redis://127.0.0.1:{}", redis.port()));
        assert_eq!(redis.command(&["SET", "k", "value"]), "+OK");
        redis.restart();
        assert_eq!(redis.command(&["GET", "k"]), "value");
        let port = redis.port();
        drop(redis);
        assert!(TcpStream::connect(address(port)).is_err());
    }

    #[test]
    fn a_killed_server_comes_back_with_what_it_synced() {
        let redis = Redis::with(&[("appendfsync", "always")]);
        redis.command(&["SET", "k", "value"]);
        redis.kill();
        assert!(TcpStream::connect(address(redis.port())).is_err());
        redis.restart();
        assert_eq!(redis.command(&["GET", "k"]), "value");
    }

    #[test]
    fn takes_settings() {
        let redis = Redis::with(&[("maxmemory", "1mb"), ("maxmemory-policy", "volatile-lru")]);
        let answer = redis.command(&["SET", "k", &"x".repeat(2_000_000)]);
        assert!(
            answer.starts_with("-OOM") || redis.command(&["SET", "l", "x"]).starts_with("-OOM"),
            "{answer}"
        );
    }

    #[test]
    fn a_paused_server_answers_once_resumed() {
        let redis = Redis::start();
        redis.pause();
        assert_eq!(exchange(address(redis.port()), b"PING\r\n", 16), None);
        redis.resume();
        assert_eq!(redis.command(&["PING"]), "+PONG");
    }
}
