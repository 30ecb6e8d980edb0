//! What real signals do to a real process: the test runs itself again as the child.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use sawpit_service::{Exit, ProcessSettings, boot};

/// What the child prints when it is ready, and when it was asked to drain.
const MARKS: [&str; 2] = ["child-is-ready", "child-drains"];
const VARIABLE: &str = "SERVICE_SIGNALS_CHILD";

/// Not a test of its own: what the child does. `stuck` never ends its drain.
#[test]
fn child() {
    let Ok(kind) = std::env::var(VARIABLE) else { return };
    let exit = boot::run(&ProcessSettings::default(), |process| async move {
        say(MARKS[0]);
        process.shutdown.requested().await;
        say(MARKS[1]);
        if kind == "stuck" {
            std::future::pending::<()>().await;
        }
        Ok::<_, String>(Exit::Done)
    });
    std::process::exit(exit as i32);
}

fn say(mark: &str) {
    println!("\n{mark}");
}

fn start(kind: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(VARIABLE, kind)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    wait_for(&mut lines, MARKS[0]);
    (child, lines)
}

fn wait_for(lines: &mut BufReader<ChildStdout>, mark: &str) {
    let mut line = String::new();
    while line.trim() != mark {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the child ended before {mark}");
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn the_first_signal_drains() {
    for name in ["TERM", "INT"] {
        let (mut child, mut lines) = start("obedient");
        signal(&child, name);
        wait_for(&mut lines, MARKS[1]);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}");
    }
}

#[test]
fn the_second_signal_ends_the_process_at_once() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let (mut child, mut lines) = start("stuck");
        signal(&child, "TERM");
        wait_for(&mut lines, MARKS[1]);
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{name}");
    }
}
