//! `cargo xtask test`: all tests, on real servers.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::cmd::{self, Outcome};
use crate::{app, authors, guests, packages, paths};

pub const HELP: &str = "\
test [-- ARGS]  install what the tests need, build the plugins, run every test

Needs redis-server, nginx, PostgreSQL 15 or newer, curl, promtool, wrk, clang with lld, Node.js with npm, and Python, installed
with apt-get when missing; componentize-qjs (of npm), componentize-py and schemathesis (of PyPI) go into
target/author-tools/. ARGS go to `cargo test`, such as `-- -p sawpit-queue`.";

pub const TOOLS_HELP: &str = "\
tools  install what the tests need, and no more: for who runs plain `cargo test`";

/// The oldest PostgreSQL that the store is written for.
const POSTGRES: u32 = 15;

pub fn run(args: &[String]) -> Outcome<()> {
    let (ours, passed) = app::split(args);
    if !ours.is_empty() {
        return Err(format!("unknown arguments {ours:?}; arguments of `cargo test` go after `--`"));
    }
    tools(&[])?;
    guests::build_any()?;
    let started = Instant::now();
    let mut command = cmd::cargo();
    command.arg("test").env("SAWPIT_TEST_PLUGINS", paths::built_plugins()).current_dir(paths::root());
    if !selects_packages(passed) {
        command.arg("--workspace");
    }
    let (tally, result) = count(command.args(passed));
    println!("\n{}", tally.sentence(started.elapsed()));
    result
}

/// Installs all that the tests need beside the plugins.
pub fn tools(args: &[String]) -> Outcome<()> {
    if !args.is_empty() {
        return Err(format!("unknown arguments {args:?}; tools takes none"));
    }
    install_servers()?;
    install_program("curl", "curl", "the tests run the line that `sawpit up` prints")?;
    install_program("promtool", "prometheus", "the tests check the alert rules with promtool")?;
    install_wrk()?;
    authors::install()
}

/// What posts and asks in the bench.
pub fn install_wrk() -> Outcome<()> {
    install_program("wrk", "wrk", "the bench posts with wrk")
}

fn install_program(program: &str, package: &str, why: &str) -> Outcome<()> {
    if cmd::exists(program) { Ok(()) } else { packages::install(&[package], why) }
}

/// Whether arguments of `cargo test` say which packages; if not, all are tested.
fn selects_packages(args: &[String]) -> bool {
    let mut cargos = args.iter().take_while(|arg| *arg != "--");
    cargos.any(|arg| ["-p", "--package", "--workspace"].iter().any(|flag| arg.starts_with(flag)))
}

/// Redis, nginx and PostgreSQL, and what the guides ask them with, where they are missing.
pub fn install_servers() -> Outcome<()> {
    let mut missing = missing_tools();
    missing.extend((!cmd::exists("redis-server")).then_some("redis-server"));
    missing.extend((!cmd::exists("nginx")).then_some("nginx"));
    missing.extend((!has_postgres()).then(postgres_package));
    if missing.is_empty() {
        return Ok(());
    }
    packages::install(&missing, "the tests run on real servers")?;
    if has_postgres() {
        return Ok(());
    }
    Err(format!(
        "PostgreSQL {POSTGRES} or newer is needed and this system's is older: install it from apt.postgresql.org"
    ))
}

/// The packages of what the guides' commands need, and of what ends them with their test.
fn missing_tools() -> Vec<&'static str> {
    let tools = [
        ("bash", "bash"),
        ("curl", "curl"),
        ("openssl", "openssl"),
        ("pgrep", "procps"),
        ("setpriv", "util-linux"),
        ("psql", "postgresql-client"),
        ("redis-cli", "redis-tools"),
    ];
    tools.into_iter().filter(|(program, _)| !cmd::exists(program)).map(|(_, package)| package).collect()
}

/// As the test kit looks for it: the versioned folders of Debian, else what is on the PATH.
fn has_postgres() -> bool {
    let versions = Path::new("/usr/lib/postgresql").read_dir().into_iter().flatten().flatten();
    let newest = versions.filter_map(|folder| folder.file_name().to_str()?.parse().ok()).max();
    newest >= Some(POSTGRES) || on_path_version() >= Some(POSTGRES)
}

/// From `postgres (PostgreSQL) 16.4 (Debian …)`.
fn on_path_version() -> Option<u32> {
    let text = cmd::output(Command::new("postgres").arg("--version"))?;
    text.split_whitespace().nth(2)?.split('.').next()?.parse().ok()
}

/// Debian 12 has version 15 under its own name; where that is unknown, the newest that the system has.
fn postgres_package() -> &'static str {
    let known = cmd::output(Command::new("apt-cache").args(["show", "postgresql-15"])).is_some();
    if known { "postgresql-15" } else { "postgresql" }
}

/// What the test binaries said, added up.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    binaries: u32,
    passed: u32,
    failed: u32,
    ignored: u32,
}

impl Tally {
    /// Adds a line such as `test result: ok. 24 passed; 0 failed; 0 ignored; …`; other lines change nothing.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let number = |word: &str| {
            let before = result.split(word).next()?;
            before.trim_end().rsplit(' ').next()?.parse::<u32>().ok()
        };
        self.binaries += 1;
        self.passed += number("passed").unwrap_or(0);
        self.failed += number("failed").unwrap_or(0);
        self.ignored += number("ignored").unwrap_or(0);
    }

    fn sentence(&self, took: Duration) -> String {
        let Self { binaries, passed, failed, ignored } = self;
        let seconds = took.as_secs();
        format!(
            "xtask test: {passed} passed, {failed} failed, {ignored} ignored, in {binaries} test binaries, {seconds} s"
        )
    }
}

/// Runs the tests, passing their output on line by line.
fn count(command: &mut Command) -> (Tally, Outcome<()>) {
    let mut tally = Tally::default();
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(e) => return (tally, Err(format!("cannot start cargo test: {e}"))),
    };
    for line in
        child.stdout.take().map(BufReader::new).into_iter().flat_map(BufReader::lines).map_while(Result::ok)
    {
        println!("{line}");
        tally.add(&line);
    }
    let result = match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo test failed ({status})")),
        Err(e) => Err(e.to_string()),
    };
    (tally, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_packages_are_tested_unless_some_are_named() {
        let selects = |args: &str| selects_packages(&args.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(selects("-p sawpit-queue"));
        assert!(selects("--package=sawpit-queue name"));
        assert!(!selects("name -- -p"));
    }

    #[test]
    fn adds_up_what_the_binaries_said() {
        let mut tally = Tally::default();
        tally.add("test a::b ... ok");
        tally.add(
            "test result: ok. 24 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 2.46s",
        );
        tally.add(
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0s",
        );
        assert_eq!(tally, Tally { binaries: 2, passed: 27, failed: 2, ignored: 1 });
    }
}
