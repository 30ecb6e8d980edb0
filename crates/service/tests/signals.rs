//! What real signals do to a real process: the test runs itself again as the child.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::time::Duration;

use sawpit_service::{Exit, ProcessSettings, boot};
use sawpit_testkit::{Launch, Process, Signal};

/// What the child prints when it is ready, and when it was asked to drain.
const MARKS: [&str; 2] = ["child-is-ready", "child-drains"];
const VARIABLE: &str = "SERVICE_SIGNALS_CHILD";
/// Long enough for a busy machine, short enough that a hang is noticed.
const SOON: Duration = Duration::from_secs(60);

/// Not a test of its own: what the child does. `stuck` never ends its drain, `failing` fails in it.
#[test]
fn child() {
    let Ok(kind) = std::env::var(VARIABLE) else { return };
    let exit = boot::run(&ProcessSettings::default(), |process| async move {
        say(MARKS[0]);
        process.shutdown.requested().await;
        say(MARKS[1]);
        match kind.as_str() {
            "stuck" => std::future::pending().await,
            "failing" => Err("it fails".to_owned()),
            _ => Ok::<_, String>(Exit::Done),
        }
    });
    std::process::exit(exit as i32);
}

fn say(mark: &str) {
    println!("\n{mark}");
}

fn start(kind: &str) -> Process {
    let me = std::env::current_exe().unwrap();
    let child = Launch::new(me).args(["child", "--exact", "--nocapture"]).env(VARIABLE, kind).start();
    child.wait_line(MARKS[0], SOON);
    child
}

/// How a child of this kind ends on these signals, the second sent once it drains.
fn code_after(kind: &str, signals: &[Signal]) -> Option<i32> {
    let child = start(kind);
    for signal in signals {
        child.signal(*signal);
        child.wait_line(MARKS[1], SOON);
    }
    child.wait(SOON).unwrap_or_else(|| panic!("it still runs: {}", child.output())).code()
}

#[test]
fn the_first_signal_drains_and_an_interrupted_process_says_so() {
    assert_eq!(code_after("obedient", &[Signal::TERM]), Some(0), "a supervisor ended it, as it may");
    assert_eq!(code_after("obedient", &[Signal::INT]), Some(130), "a person interrupted it");
}

#[test]
fn a_failure_in_the_drain_stays_one() {
    for signal in [Signal::TERM, Signal::INT] {
        assert_eq!(code_after("failing", &[signal]), Some(1), "{signal:?}");
    }
}

#[test]
fn the_second_signal_ends_the_process_at_once() {
    for (second, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        assert_eq!(code_after("stuck", &[Signal::TERM, second]), Some(code), "{second:?}");
    }
}
