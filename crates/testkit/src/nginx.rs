//! The project's nginx.conf under a real nginx, its ports and paths replaced.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Launch, Process};
use crate::temp::TempFolder;
use crate::{ports, program};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// An nginx in a folder of its own. Dropping it ends it.
#[derive(Debug)]
pub struct Nginx {
    process: Mutex<Process>,
    launch: Launch,
    port: u16,
    _folder: TempFolder,
}

impl Nginx {
    /// Starts nginx with `template` (the text of `nginx/nginx.conf`) in front of `hosts`.
    ///
    /// # Panics
    /// When nginx is not installed, refuses the file or does not start, saying what to do or what it printed.
    #[track_caller]
    pub fn start(template: &str, hosts: &[SocketAddr]) -> Self {
        let folder = TempFolder::new("nginx");
        let port = ports::free_port();
        let text = nginx_conf(template, port, hosts, folder.path());
        fs::write(folder.join("nginx.conf"), text).expect("the folder is ours");
        let nginx = program::find("nginx", "nginx");
        check(&nginx, &folder);
        // Told to stop, not killed: the master ends its workers.
        let launch = Launch::new(nginx).args(arguments(&folder)).on_orphaned(Signal::TERM);
        let launch = launch.args(["-g", "daemon off;"]);
        let process = Mutex::new(start(&launch, port));
        Self { process, launch, port, _folder: folder }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What nginx wrote to its error log.
    pub fn output(&self) -> String {
        self.process().output()
    }

    /// SIGKILL to the master and its workers.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// SIGTERM: connections are closed at once.
    pub fn stop(&self) {
        self.process().stop(Signal::TERM, STOP_LIMIT);
    }

    /// Starts it again, on the same port; stops it first when it runs.
    #[track_caller]
    pub fn restart(&self) {
        self.stop();
        *self.process() = start(&self.launch, self.port);
    }

    /// SIGSTOP to the master and its workers: connections stay open and get no answer.
    pub fn pause(&self) {
        self.process().signal_all(Signal::STOP);
    }

    /// SIGCONT to the master and its workers.
    pub fn resume(&self) {
        self.process().signal_all(Signal::CONT);
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.process().stop(Signal::TERM, STOP_LIMIT);
    }
}

#[track_caller]
fn start(launch: &Launch, port: u16) -> Process {
    let process = launch.start();
    process.wait_tcp((Ipv4Addr::LOCALHOST, port).into(), START_LIMIT);
    process
}

/// The project's `nginx.conf` with the listening port, the hosts and the paths of one test put in.
///
/// # Panics
/// When the template lacks a place that this replaces: it would test another file than the one that is run.
#[track_caller]
pub fn nginx_conf(template: &str, listen_port: u16, hosts: &[SocketAddr], prefix: &Path) -> String {
    let prefix = prefix.display();
    let mut text = replace(template, "listen 18723", &format!("listen 127.0.0.1:{listen_port}"));
    for (number, host) in (1..).zip(hosts) {
        text = replace(&text, &format!("server host-{number}:8000"), &format!("server {host}"));
    }
    assert!(!text.contains("server host-"), "nginx.conf names more hosts than the test started");
    text = replace(&text, "/run/nginx.pid", &format!("{prefix}/nginx.pid"));
    replace(&text, "/var/cache/nginx/", &format!("{prefix}/"))
}

#[track_caller]
fn replace(text: &str, place: &str, by: &str) -> String {
    assert!(text.contains(place), "nginx.conf has no {place:?}: change testkit::nginx_conf with it");
    text.replace(place, by)
}

/// `nginx -t`: what is wrong with the file, before the wait for a port that never opens.
#[track_caller]
fn check(nginx: &Path, folder: &TempFolder) {
    let output = Command::new(nginx).arg("-t").args(arguments(folder)).output();
    let output = output.unwrap_or_else(|e| panic!("cannot start {}: {e}", nginx.display()));
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nginx refuses its configuration:\n{printed}");
    assert!(!printed.contains("[warn]") || printed.contains("\"user\" directive"), "nginx warns:\n{printed}");
}

fn arguments(folder: &TempFolder) -> [std::ffi::OsString; 6] {
    let conf = folder.join("nginx.conf");
    ["-p".into(), folder.path().into(), "-c".into(), conf.into(), "-e".into(), "stderr".into()]
}
