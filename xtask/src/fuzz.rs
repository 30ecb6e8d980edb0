//! `cargo xtask fuzz`: throws mutated bytes at what takes bytes from outside.

use std::fs;
use std::path::PathBuf;

use crate::cmd::{self, Outcome};
use crate::{guests, packages, paths};

pub const HELP: &str = "\
fuzz [TARGET] [--seconds N]  throw mutated input at a parser or the loader, all of them in turn unless one is named

TARGET is body (what devices post), entry (what is in the stream), manifest (NAME.toml) or loader (NAME.wasm). N is 60
unless given. Installs cargo-fuzz, and a C++ compiler where there is none. Inputs are kept in target/fuzz/; one that
breaks something goes to fuzz/artifacts/: mend it, and copy it to fuzz/corpus/TARGET/, which the tests replay.";

const TARGETS: [&str; 4] = ["body", "entry", "manifest", "loader"];

/// What a person asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    targets: Vec<&'a str>,
    seconds: u64,
}

pub fn run(args: &[String]) -> Outcome<()> {
    let wanted = parse(args)?;
    install()?;
    if wanted.targets.contains(&"loader") {
        guests::build_any()?;
    }
    wanted.targets.iter().try_for_each(|target| fuzz(target, wanted.seconds))
}

fn parse(args: &[String]) -> Outcome<Wanted<'_>> {
    let mut wanted = Wanted { targets: Vec::new(), seconds: 60 };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        if arg == "--seconds" {
            let value = rest.next().ok_or("--seconds needs a number")?;
            wanted.seconds = value.parse().map_err(|_| format!("{value:?} is not a number of seconds"))?;
        } else if TARGETS.contains(&arg.as_str()) {
            wanted.targets.push(arg);
        } else {
            return Err(format!("unknown argument {arg:?}; targets are {}", TARGETS.join(", ")));
        }
    }
    if wanted.targets.is_empty() {
        wanted.targets.extend(TARGETS);
    }
    Ok(wanted)
}

fn install() -> Outcome<()> {
    if !cmd::exists("c++") {
        packages::install(&["g++"], "libFuzzer is C++")?;
    }
    let has = cmd::output(cmd::cargo().args(["fuzz", "--version"])).is_some();
    if has { Ok(()) } else { cmd::run(cmd::cargo().args(["install", "--locked", "cargo-fuzz"])) }
}

fn fuzz(target: &str, seconds: u64) -> Outcome<()> {
    let found = paths::root().join("target/fuzz").join(target);
    fs::create_dir_all(&found).map_err(|e| format!("cannot make {}: {e}", found.display()))?;
    let mut command = cmd::cargo();
    // The flags of the coverage are unstable, on a stable compiler. Our code has no unsafe to speak of, and the guests'
    // sandbox is at odds with the address sanitizer.
    command.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", "--sanitizer", "none"]);
    if ["manifest", "loader"].contains(&target) {
        command.args(["--features", "plugins"]);
    }
    command.arg(target).arg(&found).args(seeds(target));
    command.args([
        "--",
        &format!("-max_total_time={seconds}"),
        "-max_len=262144",
        "-timeout=20",
        "-rss_limit_mb=4096",
    ]);
    cmd::run(command.current_dir(paths::root()))
}

/// The folders of inputs to start from. libFuzzer ends at one that is not there; the loader's seeds are the plugins just
/// built, and it has a folder of its own only once something was found.
fn seeds(target: &str) -> Vec<PathBuf> {
    let mut folders = vec![paths::root().join("fuzz/corpus").join(target)];
    if target == "loader" {
        folders.push(paths::built_plugins());
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Outcome<(Vec<String>, u64)> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let Wanted { targets, seconds } = parse(&args)?;
        Ok((targets.into_iter().map(str::to_owned).collect(), seconds))
    }

    #[test]
    fn all_targets_for_a_minute_unless_told_otherwise() {
        assert_eq!(parsed(&[]).unwrap(), (TARGETS.map(str::to_owned).to_vec(), 60));
        assert_eq!(parsed(&["body", "--seconds", "5"]).unwrap(), (vec!["body".to_owned()], 5));
        for wrong in [&["heads"][..], &["--seconds"], &["--seconds", "x"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_target_is_there_and_has_a_seed() {
        for target in TARGETS {
            let file = paths::root().join(format!("fuzz/fuzz_targets/{target}.rs"));
            assert!(file.is_file(), "{}", file.display());
            let seeds = paths::root().join("fuzz/corpus").join(target);
            let has_seed = fs::read_dir(seeds).is_ok_and(|mut files| files.next().is_some());
            assert!(has_seed || target == "loader", "{target} has no seed");
        }
    }
}
