//! `cargo xtask chaos`: the whole system under load and faults, and the account of every answered log.

use std::process::Command;

use crate::cmd::{self, Outcome};
use crate::{guests, paths, test};

pub const HELP: &str = "\
chaos [--minutes N] [--seed S] [--break ack-first|no-ledger]  break the running system at random; account for every answered log

Starts nginx, two hosts, Redis, two workers and PostgreSQL on free ports, posts logs, and meanwhile kills, stops
and freezes processes, cuts and delays connections, swaps plugins. Then every log that was answered `queued` must
be stored once, dropped by a plugin, or a dead letter; else the exit code is 1. It is 1 as well when too little happened
to prove anything, which the last line says. The seed (made up unless given, and
printed) repeats the faults. N is 2 unless given. What hosts and workers said is in target/chaos/.

--break ack-first lets workers acknowledge before they commit, against invariant 2, and --break no-ledger lets them take
every message that comes again for a new one, against invariant 1. Only debug builds can be told to. It shows that the
account would notice: the run must fail, with logs lost or doubled.";

/// What can be broken on purpose.
const BREAKS: [&str; 2] = ["ack-first", "no-ledger"];

/// What a person asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    minutes: u64,
    seed: Option<u64>,
    broken: Option<String>,
}

pub fn run(args: &[String]) -> Outcome<()> {
    let Wanted { minutes, seed, broken } = parse(args)?;
    test::install_servers()?;
    guests::build_any()?;
    build()?;
    let built = paths::target("debug")?;
    let seed = seed.unwrap_or_else(made_up);
    let mut chaos = Command::new(built.join("sawpit-chaos"));
    chaos.arg(built.join("sawpit")).arg(paths::built_plugins()).arg(paths::root().join("target/chaos"));
    cmd::run(chaos.arg((minutes * 60).to_string()).arg(seed.to_string()).args(broken))
}

fn parse(args: &[String]) -> Outcome<Wanted> {
    let mut wanted = Wanted { minutes: 2, seed: None, broken: None };
    for pair in args.chunks(2) {
        let number = |text: &String| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
        match pair {
            [flag, value] if flag == "--minutes" => wanted.minutes = number(value)?.clamp(1, 24 * 60),
            [flag, value] if flag == "--seed" => wanted.seed = Some(number(value)?),
            [flag, value] if flag == "--break" && BREAKS.contains(&value.as_str()) => {
                wanted.broken = Some(value.clone());
            }
            other => return Err(format!("unknown arguments {other:?}; see --help")),
        }
    }
    Ok(wanted)
}

/// Different from run to run; short enough to be typed again.
fn made_up() -> u64 {
    u64::from(std::process::id())
}

/// With the features that the libraries have in the whole workspace, as the tests build them.
fn build() -> Outcome<()> {
    let mut cargo = cmd::cargo();
    cargo.args(["build", "--workspace", "--bin", "sawpit", "--bin", "sawpit-chaos"]);
    cmd::run(cargo.current_dir(paths::root()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn takes_minutes_and_seed_in_any_order() {
        let wanted = |minutes, seed, broken: Option<&str>| {
            Ok(Wanted { minutes, seed, broken: broken.map(str::to_owned) })
        };
        assert_eq!(parse(&[]), wanted(2, None, None));
        assert_eq!(parse(&words("--seed 7 --minutes 10")), wanted(10, Some(7), None));
        assert_eq!(parse(&words("--minutes 0")), wanted(1, None, None));
        for broken in ["ack-first", "no-ledger"] {
            assert_eq!(parse(&words(&format!("--break {broken}"))), wanted(2, None, Some(broken)));
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for wrong in ["--minutes", "--minutes x", "--faults 3", "7", "--break x", "--break"] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
