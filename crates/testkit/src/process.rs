//! Any program as a child of the test: its output kept, its start awaited, its end certain.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::temp::TempFolder;
use crate::{spawner, tree};

/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(10);

/// What to start and how; `start` makes a [`Process`] of it.
#[derive(Debug, Clone)]
pub struct Launch {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    log: Option<PathBuf>,
    user: Option<(u32, u32)>,
    on_orphaned: Signal,
}

impl Launch {
    /// A launch of `program` without arguments. It inherits the environment, but no `SAWPIT_…` variable: the
    /// developer's own settings must not change what a test does.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            folder: None,
            log: None,
            user: None,
            on_orphaned: Signal::KILL,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The folder to run in; the test's own when not given.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// The file to append standard output and error to; a temporary one when not given.
    #[must_use]
    pub fn log(mut self, file: impl AsRef<Path>) -> Self {
        self.log = Some(file.as_ref().to_owned());
        self
    }

    /// The user and group ids to run as; only root may name others.
    #[must_use]
    pub(crate) fn user(mut self, ids: Option<(u32, u32)>) -> Self {
        self.user = ids;
        self
    }

    /// The signal that the process gets should the test process die: for servers that clean up or have
    /// children of their own. SIGKILL when not given.
    #[must_use]
    pub fn on_orphaned(mut self, signal: Signal) -> Self {
        self.on_orphaned = signal;
        self
    }

    /// Starts the process.
    ///
    /// # Panics
    /// When the program cannot be started, with its name and the cause.
    pub fn start(&self) -> Process {
        let folder = TempFolder::new("process");
        let log = self.log.clone().unwrap_or_else(|| folder.join("output.log"));
        let child = spawner::spawn(self.command(&log), self.on_orphaned);
        let child = child.unwrap_or_else(|e| panic!("cannot start {}: {e}", self.name()));
        Process { name: self.name(), id: child.id(), child: Mutex::new(child), log, _folder: folder }
    }

    fn name(&self) -> String {
        Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

    fn command(&self, log: &Path) -> Command {
        let out = OpenOptions::new().create(true).append(true).open(log);
        let out = out.unwrap_or_else(|e| panic!("cannot write {}: {e}", log.display()));
        let err = out.try_clone().expect("a file handle can be cloned");
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SAWPIT_"))
        {
            command.env_remove(name);
        }
        command.args(&self.args).envs(self.env.iter().cloned()).stdin(Stdio::null()).stdout(out).stderr(err);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

/// A running child. Dropping it kills it, and what it started, and waits until all are gone.
#[derive(Debug)]
pub struct Process {
    name: String,
    id: u32,
    child: Mutex<Child>,
    log: PathBuf,
    _folder: TempFolder,
}

impl Process {
    /// The process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// All it printed so far, standard output and error together.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How it ended, or `None` while it runs.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("a child can be waited for")
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// Waits until it ended by itself; `None` when it still runs after `limit`.
    pub fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.exit_status() {
                None if Instant::now() < deadline => sleep(POLL),
                status => return status,
            }
        }
    }

    /// Sends a signal; nothing happens when the process has ended.
    pub fn signal(&self, signal: Signal) {
        // Only an unreaped id is certain not to belong to another process by now.
        if self.is_running() {
            tree::signal(self.id, signal);
        }
    }

    /// Sends a signal to it and to everything it started; nothing happens when it has ended.
    pub fn signal_all(&self, signal: Signal) {
        if self.is_running() {
            // Itself first: once stopped, it starts no child that the list below lacks.
            tree::signal(self.id, signal);
            tree::descendants(self.id).into_iter().for_each(|id| tree::signal(id, signal));
        }
    }

    /// SIGKILL to it and to everything it started; returns when they are gone. No process gets to clean up.
    pub fn kill(&self) {
        if !self.is_running() {
            return;
        }
        // Stopped first, so that it starts no child that the list below lacks.
        tree::signal(self.id, Signal::STOP);
        let children = tree::descendants(self.id);
        for id in children.iter().chain([&self.id]) {
            tree::signal(*id, Signal::KILL);
        }
        let _ = self.child().wait();
        let gone = tree::wait_gone(&children, Duration::from_secs(10));
        assert!(gone, "children of {} survived SIGKILL: {children:?}", self.name);
    }

    /// Sends `signal` and waits for the end; kills it after `limit`. The status it ended with.
    pub fn stop(&self, signal: Signal, limit: Duration) -> ExitStatus {
        self.signal(signal);
        // A paused process sees no signal but SIGKILL before it goes on.
        self.signal(Signal::CONT);
        if let Some(status) = self.wait(limit) {
            return status;
        }
        self.kill();
        self.exit_status().expect("a killed process has a status")
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: goes on where [`pause`](Self::pause) stopped it.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until `ready` gives a value.
    ///
    /// # Panics
    /// When the process ends first or `limit` passes, with what was awaited and the process's output.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = ready() {
                return value;
            }
            if let Some(status) = self.exit_status() {
                panic!("{} ended ({status}) before {what}; it printed:\n{}", self.name, self.output());
            }
            if Instant::now() > deadline {
                panic!("{}: no {what} within {limit:?}; it printed:\n{}", self.name, self.output());
            }
            sleep(POLL);
        }
    }

    /// Waits for a line of output that contains `text`, and returns the line.
    #[track_caller]
    pub fn wait_line(&self, text: &str, limit: Duration) -> String {
        self.wait_for(&format!("line with {text:?}"), limit, || {
            self.output().lines().find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    /// Waits until `address` takes a connection.
    #[track_caller]
    pub fn wait_tcp(&self, address: SocketAddr, limit: Duration) {
        self.wait_for(&format!("listener on {address}"), limit, || TcpStream::connect(address).ok());
    }

    /// Waits until `GET path` answers 2xx.
    #[track_caller]
    pub fn wait_http(&self, address: SocketAddr, path: &str, limit: Duration) {
        self.wait_for(&format!("2xx of http://{address}{path}"), limit, || {
            http_status(address, path).filter(|status| (200..300).contains(status))
        });
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The status of one GET, `None` when there was no answer.
fn http_status(address: SocketAddr, path: &str) -> Option<u16> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let answer = exchange(address, request.as_bytes(), 64)?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// Sends `request` and reads up to `most` bytes of the answer, each step within a second.
pub(crate) fn exchange(address: SocketAddr, request: &[u8], most: usize) -> Option<String> {
    let second = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, second).ok()?;
    stream.set_read_timeout(Some(second)).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = vec![0; most];
    let length = stream.read(&mut answer).ok()?;
    answer.truncate(length);
    String::from_utf8(answer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Process {
        Launch::new("sh").args(["-c", script]).start()
    }

    #[test]
    fn keeps_output_and_status() {
        let process = shell("echo out; echo err >&2; exit 3");
        assert_eq!(process.wait(SOON).unwrap().code(), Some(3));
        assert_eq!(process.output(), "out\nerr\n");
    }

    #[test]
    fn passes_the_environment_given_but_not_our_own_settings() {
        let process = Launch::new("sh").args(["-c", "echo [$A][$SAWPIT_TEST_PLUGINS]"]).env("A", "b").start();
        assert_eq!(process.wait_line("[", SOON), "[b][]");
    }

    #[test]
    #[should_panic(expected = "ended (exit status: 1) before line with \"ready\"; it printed:\nbroken")]
    fn shows_the_output_when_it_dies_before_it_is_ready() {
        shell("echo broken; exit 1").wait_line("ready", SOON);
    }

    #[test]
    #[should_panic(expected = "no line with \"ready\" within 100ms")]
    fn gives_up_waiting_at_the_limit() {
        shell("sleep 100").wait_line("ready", Duration::from_millis(100));
    }

    #[test]
    fn dropping_kills_the_children_too() {
        let process = shell("sleep 1000 & echo started; wait");
        process.wait_line("started", SOON);
        let mut all = tree::descendants(process.id());
        assert_eq!(all.len(), 1);
        all.push(process.id());
        drop(process);
        assert!(tree::wait_gone(&all, Duration::ZERO));
    }

    #[test]
    fn outlives_the_thread_that_started_it() {
        let process = std::thread::spawn(|| shell("sleep 1000")).join().unwrap();
        assert!(process.wait(Duration::from_millis(200)).is_none());
    }

    #[test]
    fn dies_with_the_process_that_started_it() {
        // This test binary again, as the parent to be killed.
        let me = std::env::current_exe().unwrap();
        let parent = Launch::new(me)
            .args(["--exact", "process::tests::parent_to_be_killed", "--nocapture"])
            .env("TESTKIT_PARENT", "1")
            .start();
        let line = parent.wait_line("child=", SOON);
        let child: u32 = line.rsplit('=').next().unwrap().trim().parse().unwrap();
        // Not `kill`, which would end the child by itself.
        tree::signal(parent.id(), Signal::KILL);
        assert!(tree::wait_gone(&[child], SOON));
    }

    #[test]
    fn parent_to_be_killed() {
        if std::env::var_os("TESTKIT_PARENT").is_some() {
            let child = shell("sleep 1000");
            println!("\nchild={}", child.id());
            child.wait(Duration::from_secs(1000));
        }
    }

    #[test]
    fn stop_escalates_to_kill() {
        let stubborn = shell("trap '' TERM; echo armed; while :; do sleep 1; done");
        stubborn.wait_line("armed", SOON);
        let status = stubborn.stop(Signal::TERM, Duration::from_millis(100));
        assert!(!status.success());
        assert!(!stubborn.is_running());
    }
}
