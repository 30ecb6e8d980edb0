//! `cargo xtask run`: the whole of Sawpit in one process, with the example plugins.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::cmd::{self, Outcome};
use crate::{guests, paths};

pub const HELP: &str = "\
run [--release] [-- ARGS]  build the plugins and start `sawpit up` with them

ARGS go to `sawpit up` (see `cargo xtask run -- --help`). Without --release the build is shared with the
tests. Nothing else has to be installed: the queue and the database are files in ./sawpit-data.";

pub fn run(args: &[String]) -> Outcome<()> {
    let (ours, passed) = split(args);
    let release = match ours {
        [] => false,
        [flag] if flag == "--release" => true,
        _ => return Err(format!("unknown arguments {ours:?}; arguments of `sawpit up` go after `--`")),
    };
    guests::build_any()?;
    guests::offer()?;
    build(release)?;
    let mut up = Command::new(paths::target(if release { "release" } else { "debug" })?.join("sawpit"));
    up.arg("up");
    if !passed.iter().any(|arg| arg == "--plugins" || arg.starts_with("--plugins=")) {
        up.arg("--plugins").arg(paths::watched_plugins());
    }
    // Becomes sawpit: Ctrl-C and SIGTERM reach it with nobody in between.
    Err(format!("cannot start sawpit: {}", up.args(passed).exec()))
}

/// The one program, but with the features that the libraries have in the whole workspace: so the tests
/// find them built, and this finds them built by the tests.
fn build(release: bool) -> Outcome<()> {
    println!("building sawpit (the first build takes some minutes)");
    let mut cargo = cmd::cargo();
    cargo.args(["build", "--workspace", "--bin", "sawpit"]);
    if release {
        cargo.arg("--release");
    }
    cmd::run(cargo.current_dir(paths::root()))
}

/// What is before the first `--`, and what is after it.
pub fn split(args: &[String]) -> (&[String], &[String]) {
    let end = args.iter().position(|arg| arg == "--").unwrap_or(args.len());
    let (ours, rest) = args.split_at(end);
    (ours, rest.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_first_double_dash() {
        let args = ["--release", "--", "a", "--", "b"].map(str::to_owned);
        let (ours, passed) = split(&args);
        assert_eq!(ours, ["--release"]);
        assert_eq!(passed, ["a", "--", "b"]);
        assert_eq!(split(&[]), (&[][..], &[][..]));
    }
}
