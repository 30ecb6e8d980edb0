//! The commands of README.md and docs/, run as they stand there: each page from top to bottom in one shell, on servers of
//! its own. Addresses and folders are the test's; what runs on goes into the background; any other must end well.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use sawpit_testkit::{Launch, Nginx, Postgres, Process, Redis, TempFolder, free_port, workspace_root};
use support::{SOON, example_plugins, free_address, sawpit};

/// Longest time that a page may take; it needs some seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is not run: how the command begins, and why.
const NOT_RUN: [(&str, &str); 6] = [
    ("cargo xtask test", "it is what runs this"),
    ("cargo xtask bench", "takes minutes; cli/tests/bench.rs runs it short"),
    ("cargo xtask chaos", "takes minutes; cli/tests/chaos.rs runs it short"),
    ("docker ", "needs Docker, which tests must do without"),
    ("sawpit dead show", "needs a dead letter; cli/tests/dead.rs makes some"),
    ("sawpit dead replay", "the same"),
];

/// What is run in another way: how the command begins, and what is run instead.
const INSTEAD: [(&str, &str); 3] = [
    // The program is built already, and the plugins are there.
    ("cargo xtask run", "sawpit up"),
    ("sawpit token revoke ID", "sawpit token revoke $(sawpit token list | cut -d' ' -f1)"),
    ("sawpit dead purge ID", "sawpit dead purge --help"),
];

/// `serve LOG WORD ADDRESS COMMAND…` starts what runs on, as a reader does in another terminal, and ends what was at that
/// address before. It waits until the address is served and the log has the word.
const PRELUDE: &str = r#"
set -euo pipefail
declare -A serving
curl() { command curl --fail-with-body "$@"; }
redis-cli() { command redis-cli -e -p "$REDIS_PORT" "$@"; }
serve() {
    local log=$1 word=$2 address=$3
    shift 3
    if [ -n "${serving[$address]:-}" ]; then
        kill -TERM "${serving[$address]}" 2>&- || true
        wait "${serving[$address]}" || true
    fi
    setpriv --pdeathsig TERM "$@" >"$log" 2>&1 &
    serving[$address]=$!
    for _ in $(seq 600); do
        if grep -q "$word" "$log" && (exec 3<>"/dev/tcp/${address%:*}/${address#*:}") 2>&-; then return 0; fi
        kill -0 "${serving[$address]}" 2>&- || break
        sleep 0.1
    done
    cat "$log"
    return 1
}
finish() {
    local ended=$?
    if [ -e nginx.pid ]; then kill "$(cat nginx.pid)" || true; fi
    for pid in $(jobs -p); do kill -TERM "$pid" 2>&- || true; done
    wait
    exit $ended
}
trap finish EXIT
"#;

/// The commands in the `sh` and `console` blocks of a page, each in one line.
fn commands(text: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut kind = None;
    let mut goes_on = false;
    for line in text.lines() {
        if let Some(named) = line.trim_start().strip_prefix("```") {
            kind = if kind.is_some() { None } else { Some(named.to_owned()) };
            continue;
        }
        let command = match kind.as_deref() {
            Some("sh") => Some(line),
            // The other lines are what is answered.
            Some("console") => line.strip_prefix("$ ").or(goes_on.then_some(line)),
            _ => None,
        };
        let Some(command) = command.map(str::trim).filter(|command| !command.is_empty()) else { continue };
        match commands.last_mut() {
            Some(last) if goes_on => last.push_str(command),
            _ => commands.push(command.to_owned()),
        }
        goes_on = command.ends_with('\\');
        if let Some(last) = commands.last_mut() {
            *last = last.trim_end_matches('\\').to_owned();
        }
    }
    commands.into_iter().map(|command| without_comment(&command).to_owned()).collect()
}

/// A comment stands behind two spaces or more.
fn without_comment(command: &str) -> &str {
    command.split("  #").next().unwrap().trim_end()
}

fn is_not_run(command: &str) -> bool {
    NOT_RUN.iter().any(|(start, _)| command.starts_with(start))
}

/// The servers, the folder and the addresses of a page.
struct Place {
    redis: Redis,
    postgres: Postgres,
    folder: TempFolder,
    /// By the port that stands in the page.
    ports: BTreeMap<u16, u16>,
    running: Vec<Process>,
    _nginx: Option<Nginx>,
}

impl Place {
    fn new() -> Self {
        let (redis, postgres, folder) = (Redis::start(), Postgres::start(), TempFolder::new("guide"));
        for name in ["bin", "nginx", "plugins.d"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_sawpit"), folder.join("bin/sawpit")).unwrap();
        symlink(workspace_root().join("monitoring"), folder.join("monitoring")).unwrap();
        let plugins = example_plugins();
        for entry in fs::read_dir(plugins.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.join("plugins.d").join(path.file_name().unwrap())).unwrap();
        }
        let ports = BTreeMap::from([(6379, redis.port())]);
        Self { redis, postgres, folder, ports, running: Vec::new(), _nginx: None }
    }

    /// With the database of the guides.
    fn with_database() -> Self {
        let place = Self::new();
        place.postgres.query("postgres", "CREATE ROLE sawpit LOGIN");
        place.postgres.query("postgres", "CREATE DATABASE sawpit OWNER sawpit");
        place
    }

    /// Another port for each that the page names.
    fn port(&mut self, named: u16) -> u16 {
        *self.ports.entry(named).or_insert_with(free_port)
    }

    /// The database of the guides, as its owner.
    fn store(&self) -> String {
        format!("postgres://sawpit@127.0.0.1:{}/sawpit", self.postgres.port())
    }

    /// Starts a part of the system that the page takes for granted, at a port that it names.
    fn start(&mut self, command: &str, named: u16, store: &str) {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port(named)));
        let listen = address.to_string();
        let plugins = self.folder.join("plugins.d");
        let urls = ["--queue", &self.redis.url(), "--store", store, "--plugins", plugins.to_str().unwrap()];
        let process = sawpit(&[&[command, "--listen", &listen][..], &urls].concat());
        process.wait_http(address, "/health/ready", SOON);
        self.running.push(process);
    }

    /// The text with the addresses and folders of this place.
    fn here(&mut self, text: &str) -> String {
        let folder = self.folder.path().display().to_string();
        let database = format!("sawpit@127.0.0.1:{}/sawpit", self.postgres.port());
        let mut here =
            text.replace("/tmp/", "/etc/prometheus/").replace("/etc/prometheus/", &format!("{folder}/"));
        for host in ["127.0.0.1:", "localhost:"] {
            let mut parts = here.split(host).map(str::to_owned).collect::<Vec<_>>();
            for part in parts.iter_mut().skip(1) {
                let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
                if let Ok(named) = part[..end].parse() {
                    *part = format!("{}{}", self.port(named), &part[end..]);
                }
            }
            here = parts.join(host);
        }
        here.replace("sawpit@127.0.0.1/sawpit", &database)
    }

    /// A command as a line of the script.
    fn line(&mut self, number: usize, command: &str) -> String {
        let instead = INSTEAD.iter().find(|(start, _)| command.starts_with(start));
        let command = instead.map_or(command, |(_, instead)| instead);
        let words: Vec<&str> = command.split_whitespace().collect();
        let line = match words[..] {
            ["sawpit", part @ ("up" | "host" | "worker"), ..] => {
                let word = if part == "host" { "serving" } else { "worker started" };
                let given =
                    words.iter().position(|word| *word == "--listen").map(|at| words[at + 1].to_owned());
                let address = match (given, part) {
                    (Some(given), _) => given,
                    (None, "worker") => free_address().to_string(),
                    (None, _) => "127.0.0.1:8000".to_owned(),
                };
                format!("serve {number}.log '{word}' {address} env SAWPIT_LISTEN={address} {command}")
            }
            _ if command.contains("/api/tail") => format!("timeout 2 {command} || [ $? = 124 ]"),
            _ => command.to_owned(),
        };
        self.here(&line)
    }

    /// Runs what can be run of a page.
    fn run(mut self, page: &str, variables: &[(&str, &str)]) {
        let text = fs::read_to_string(workspace_root().join(page)).unwrap();
        let commands: Vec<String> =
            commands(&text).into_iter().filter(|command| !is_not_run(command)).collect();
        assert!(!commands.is_empty(), "{page} has no command");
        let mut script = PRELUDE.to_owned();
        for (number, command) in commands.iter().enumerate() {
            let line = self.line(number, command);
            script += &format!("echo {}\n{line}\n", quoted(&format!("$ {command}")));
        }
        let proxy = self.port(18723);
        let conf = fs::read_to_string(workspace_root().join("nginx/nginx.conf")).unwrap();
        let conf = conf.replace("listen 18723", &format!("listen 127.0.0.1:{proxy}"));
        fs::write(self.folder.join("nginx/nginx.conf"), conf).unwrap();
        fs::write(self.folder.join("page.sh"), script).unwrap();
        let shell = self.shell(variables);
        let ended = shell.wait(PATIENCE);
        assert!(
            ended.is_some_and(|status| status.success()),
            "{page}: the last command failed ({ended:?}):\n{}\n{}",
            shell.output(),
            logs(self.folder.path())
        );
    }

    fn shell(&self, variables: &[(&str, &str)]) -> Process {
        let path = format!("{}:{}", self.folder.join("bin").display(), std::env::var("PATH").unwrap());
        let launch = Launch::new("bash").arg("page.sh").folder(self.folder.path()).env("PATH", path);
        let launch = launch.env("REDIS_PORT", self.redis.port().to_string());
        // As whom `createuser` and `psql` ask.
        let launch = launch.env("PGHOST", "127.0.0.1").env("PGUSER", "postgres");
        let launch = launch.env("PGPORT", self.postgres.port().to_string());
        variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start()
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The end of each log that the page's processes wrote.
fn logs(folder: &Path) -> String {
    let mut told = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "log") {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(10).collect();
            told +=
                &format!("{}:\n{}\n", path.display(), lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
    told
}

#[test]
fn the_commands_of_the_readme_work() {
    // What it asks by `q` needs them.
    let indexes = [("SAWPIT_TEXT_INDEX", "true"), ("SAWPIT_DATA_INDEX", "true")];
    Place::with_database().run("README.md", &indexes);
}

#[test]
fn the_commands_of_the_page_on_nginx_and_hosts_work() {
    Place::with_database().run("docs/nginx-and-hosts.md", &[]);
}

#[test]
fn the_commands_of_the_page_on_redis_work() {
    let mut place = Place::with_database();
    place.start("worker", 8103, &place.store());
    place.run("docs/redis-streams.md", &[]);
}

#[test]
fn the_commands_of_the_page_on_postgresql_work() {
    let mut place = Place::new();
    let other = place.postgres.create_database("other");
    place.start("worker", 8103, &other);
    place.run("docs/postgresql.md", &[]);
}

#[test]
fn the_commands_of_the_page_on_monitoring_work() {
    let mut place = Place::with_database();
    place.start("worker", 8103, &place.store());
    place.run("docs/monitoring.md", &[]);
}

#[test]
fn the_commands_of_the_page_on_load_testing_work() {
    let mut place = Place::with_database();
    place.start("worker", 8103, &place.store());
    place.start("host", 8101, &place.store());
    let host = SocketAddr::from(([127, 0, 0, 1], place.port(8101)));
    let conf = fs::read_to_string(workspace_root().join("nginx/nginx.conf")).unwrap();
    let nginx = Nginx::start(&conf, &[host, host]);
    place.ports.insert(18723, nginx.port());
    place._nginx = Some(nginx);
    place.run("docs/load-testing.md", &[]);
}

#[test]
fn every_page_is_run_and_what_is_not_is_there() {
    let run = include_str!("guides_run.rs");
    let mut all = commands(&fs::read_to_string(workspace_root().join("README.md")).unwrap());
    for entry in fs::read_dir(workspace_root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("docs/{}", path.file_name().unwrap().to_str().unwrap());
        let commands = commands(&fs::read_to_string(&path).unwrap());
        assert!(commands.is_empty() || run.contains(&format!(".run(\"{name}\"")), "{name} is not run");
        all.extend(commands);
    }
    for start in NOT_RUN.iter().chain(&INSTEAD).map(|(start, _)| start) {
        assert!(all.iter().any(|command| command.starts_with(start)), "no page has {start:?} any more");
    }
    assert!(all.len() > 50, "{} commands were found", all.len());
}

#[test]
fn commands_are_found_in_blocks_whole_and_without_comments() {
    let page =
        "text\n```sh\na b \\\n  -c 'd#e'   # why\n\nf\n```\n```console\n$ g\nanswer\n```\n```json\n{}\n```\n";
    assert_eq!(commands(page), ["a b -c 'd#e'", "f", "g"]);
}
