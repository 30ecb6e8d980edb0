//! `cargo xtask chaos`: the native topology, broken at random, and an account of every log.

use std::process::Command;

use crate::cmd::{self, Outcome};
use crate::{guests, paths, test};

pub const HELP: &str = "\
chaos [--minutes N] [--seed S]  break a running system at random, account for every log

Kills, stops and restarts nginx, two hosts, Redis, two workers and PostgreSQL, cuts and delays connections, swaps
plugins, for N minutes (2). Prints what happened and where each answered log is, and fails when one is lost or
doubled. The seed repeats the plan of a run.";

pub fn run(args: &[String]) -> Outcome<()> {
    test::install_servers()?;
    guests::build_any()?;
    let mut cargo = cmd::cargo();
    cargo.args(["build", "--workspace", "--bin", "sawpit", "--bin", "sawpit-chaos"]);
    cmd::run(cargo.current_dir(paths::root()))?;
    let built = paths::target("debug")?;
    let mut chaos = Command::new(built.join("sawpit-chaos"));
    cmd::run(chaos.arg(built.join("sawpit")).arg(paths::built_plugins()).args(args))
}
