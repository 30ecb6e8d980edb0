//! A Redis Cluster of the test's own: three masters, each with a replica.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Launch, Process, exchange};
use crate::temp::TempFolder;
use crate::{ports, program, resp};

const MEMBERS: usize = 6;
const START_LIMIT: Duration = Duration::from_secs(30);
/// Longest wait for the members to agree, also after one died.
const AGREE_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Six Redis servers that are one cluster. Dropping it kills them.
#[derive(Debug)]
pub struct RedisCluster {
    members: Vec<Member>,
    _folder: TempFolder,
}

#[derive(Debug)]
struct Member {
    process: Mutex<Process>,
    launch: Launch,
    port: u16,
}

impl RedisCluster {
    /// Starts a cluster whose members give up on a silent one after two seconds.
    ///
    /// # Panics
    /// When redis-server and redis-cli are not installed, or no cluster comes of it, saying what was printed.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Like [`start`](Self::start), with settings of `redis.conf` added.
    #[track_caller]
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let folder = TempFolder::new("cluster");
        let members = (0..MEMBERS).map(|number| Member::start(&folder, number, settings)).collect();
        let cluster = Self { members, _folder: folder };
        cluster.create();
        cluster.wait_agreed();
        cluster.wait_followed();
        cluster
    }

    /// `redis+cluster://127.0.0.1:PORT,…` with two of the members.
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.members.iter().take(2).map(|member| format!("127.0.0.1:{}", member.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The ports of those that are masters now; dead ones are left out.
    pub fn masters(&self) -> Vec<u16> {
        let is_master =
            |member: &&Member| member.command(&["ROLE"]).is_some_and(|role| role.starts_with("master"));
        self.members.iter().filter(is_master).map(|member| member.port).collect()
    }

    /// The port of the master that has a key.
    ///
    /// # Panics
    /// When no member answers or the key has no master.
    #[track_caller]
    pub fn master_of(&self, key: &str) -> u16 {
        // Who has it not says where it is.
        let found = self.masters().into_iter().find(|port| {
            self.member(*port).command(&["TYPE", key]).is_some_and(|answer| !answer.starts_with('-'))
        });
        found.unwrap_or_else(|| panic!("no master has {key}"))
    }

    /// The slot of a key.
    pub fn slot_of(&self, key: &str) -> u16 {
        self.any(&["CLUSTER", "KEYSLOT", key]).trim_start_matches(':').parse().expect("a number")
    }

    /// The ports of the replicas that follow a master.
    #[track_caller]
    pub fn replicas_of(&self, port: u16) -> Vec<u16> {
        let text = self.command(port, &["INFO", "replication"]);
        let of_line = |line: &str| line.split_once(",port=")?.1.split_once(",state=online")?.0.parse().ok();
        text.lines().filter_map(of_line).collect()
    }

    /// Gives a slot and its keys to another master, as `redis-cli --cluster reshard` does.
    #[track_caller]
    pub fn move_slot(&self, slot: u16, from: u16, to: u16) {
        let (slot, target) = (slot.to_string(), to.to_string());
        let (from_id, to_id) =
            (self.command(from, &["CLUSTER", "MYID"]), self.command(to, &["CLUSTER", "MYID"]));
        self.command(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        self.command(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        for key in self.command(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).lines() {
            assert_eq!(self.command(from, &["MIGRATE", "127.0.0.1", &target, key, "0", "5000"]), "+OK");
        }
        for port in [to, from] {
            self.command(port, &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        }
    }

    /// Runs one command at the member with this port.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn command(&self, port: u16, words: &[&str]) -> String {
        let answer = self.member(port).command(words);
        answer.unwrap_or_else(|| panic!("the member on port {port} does not answer {words:?}"))
    }

    /// SIGKILL.
    #[track_caller]
    pub fn kill(&self, port: u16) {
        self.member(port).process().kill();
    }

    /// SIGSTOP: its connections stay open and get no answer.
    #[track_caller]
    pub fn pause(&self, port: u16) {
        self.member(port).process().pause();
    }

    /// SIGCONT.
    #[track_caller]
    pub fn resume(&self, port: u16) {
        self.member(port).process().resume();
    }

    /// Starts a member again that was killed; it comes back as what the others say.
    #[track_caller]
    pub fn restart(&self, port: u16) {
        let member = self.member(port);
        let mut process = member.process();
        process.stop(Signal::TERM, STOP_LIMIT);
        *process = launch(&member.launch, port);
    }

    /// Waits until those that run agree that every slot has a master, and every replica follows.
    ///
    /// # Panics
    /// When they do not within a minute.
    #[track_caller]
    pub fn wait_agreed(&self) {
        let started = Instant::now();
        while !self.agreed() {
            assert!(
                started.elapsed() < AGREE_LIMIT,
                "the cluster does not agree: {}",
                self.any(&["CLUSTER", "NODES"])
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until each master counts its replica: the replica thinks that it follows a moment earlier.
    #[track_caller]
    fn wait_followed(&self) {
        let started = Instant::now();
        let counts = |master: &u16| {
            self.replicas_of(*master).len() == 1 && self.command(*master, &["WAIT", "1", "1000"]) == ":1"
        };
        while !self.masters().iter().all(counts) {
            assert!(started.elapsed() < AGREE_LIMIT, "the replicas do not follow");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn agreed(&self) -> bool {
        self.members.iter().filter(|member| member.process().is_running()).all(|member| {
            let info = member.command(&["CLUSTER", "INFO"]).unwrap_or_default();
            let role = member.command(&["INFO", "replication"]).unwrap_or_default();
            let follows = role.contains("role:master") || role.contains("master_link_status:up");
            info.contains("cluster_state:ok")
                && info.contains(&format!("cluster_known_nodes:{MEMBERS}"))
                && follows
        }) && self.masters().len() == MEMBERS / 2
    }

    #[track_caller]
    fn create(&self) {
        let hosts = self.members.iter().map(|member| format!("127.0.0.1:{}", member.port));
        let output = Command::new(program::find("redis-cli", "redis-tools"))
            .args(["--cluster", "create"])
            .args(hosts)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .expect("redis-cli runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "no cluster came of it: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    #[track_caller]
    fn member(&self, port: u16) -> &Member {
        let found = self.members.iter().find(|member| member.port == port);
        found.unwrap_or_else(|| panic!("no member has port {port}"))
    }

    fn any(&self, words: &[&str]) -> String {
        self.members.iter().find_map(|member| member.command(words)).unwrap_or_default()
    }
}

impl Member {
    fn start(folder: &TempFolder, number: usize, settings: &[(&str, &str)]) -> Self {
        let own = folder.join(&number.to_string());
        fs::create_dir(&own).expect("the folder is ours");
        let (port, bus) = (ports::free_port(), ports::free_port());
        let mut text = format!(
            "bind 127.0.0.1\nport {port}\ncluster-enabled yes\ncluster-port {bus}\ncluster-node-timeout 2000\n\
             cluster-config-file nodes.conf\ndir {}\ndaemonize no\nsave \"\"\nappendonly yes\n\
             appendfsync everysec\nrepl-diskless-sync-delay 0\n",
            own.display()
        );
        for (name, value) in settings {
            text += &format!("{name} {value}\n");
        }
        let conf = own.join("redis.conf");
        fs::write(&conf, text).expect("the folder is ours");
        let start = Launch::new(program::find("redis-server", "redis-server"))
            .arg(conf)
            .folder(&own)
            .log(own.join("redis.log"));
        let process = Mutex::new(launch(&start, port));
        Self { process, launch: start, port }
    }

    fn command(&self, words: &[&str]) -> Option<String> {
        // Who was stopped would not answer, and who was killed has nobody at the port.
        self.process().is_running().then(|| resp::ask(address(self.port), words).ok()).flatten()
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn launch(launch: &Launch, port: u16) -> Process {
    let process = launch.start();
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

    #[test]
    fn a_killed_master_is_replaced_by_its_replica_and_comes_back_as_one() {
        let cluster = RedisCluster::start();
        let before = cluster.master_of("k");
        assert_eq!(cluster.command(before, &["SET", "k", "value"]), "+OK");
        let replica = cluster.replicas_of(before)[0];
        let until = Instant::now() + START_LIMIT;
        while cluster.command(replica, &["DBSIZE"]) != ":1" {
            assert!(Instant::now() < until, "the replica does not follow");
        }
        cluster.kill(before);
        cluster.wait_agreed();
        let after = cluster.master_of("k");
        assert_ne!(after, before);
        assert_eq!(cluster.command(after, &["GET", "k"]), "value");
        cluster.restart(before);
        cluster.wait_agreed();
        assert!(!cluster.masters().contains(&before));
    }
}
