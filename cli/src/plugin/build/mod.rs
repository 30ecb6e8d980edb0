//! `sawpit plugin build`: drives the toolchain of the project's language, and says what is missing and how to get it.
//!
//! The key decision: no toolchain is installed or configured here. Each language's own tool is looked for where its
//! users put it, given the project, and its result put beside the manifest in one step.

mod c;
mod js;
mod project;
mod python;
mod run;
mod rust;
mod tools;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use clap::{Arg, ArgMatches, value_parser};
use sawpit_service::{Exit, SettingSpec};

use self::run::Runner;
use super::{Stop, print};

const TIMEOUT: &str = "timeout";

pub fn args() -> Vec<Arg> {
    let folder = Arg::new("dir")
        .value_name("DIR")
        .help("The project's folder [default: .]")
        .value_parser(value_parser!(PathBuf))
        .default_value(".")
        .hide_default_value(true);
    let timeout = Arg::new(TIMEOUT)
        .long(TIMEOUT)
        .value_name("SECONDS")
        .help("Longest run of the language's tool; then it is stopped, with all that it has started")
        .value_parser(value_parser!(u64).range(1..=86_400))
        .default_value("300");
    vec![folder, timeout]
}

/// It works with nothing but what is asked.
pub fn specs() -> Vec<SettingSpec> {
    Vec::new()
}

pub fn run(flags: &ArgMatches) -> Result<Exit, Stop> {
    let folder = flags.get_one::<PathBuf>("dir").cloned().unwrap_or_default();
    let Language { build, suspicion } = language(&folder)?;
    let limit = Duration::from_secs(flags.get_one::<u64>(TIMEOUT).copied().unwrap_or_default());
    let wasm = build(&folder, Runner { limit, suspicion }).map_err(|error| with_old(error, &folder))?;
    print(&format!("built {}\n", wasm.display()));
    Ok(Exit::Done)
}

/// Whoever goes on with `test` after a build that failed must know what is tested.
fn with_old(error: anyhow::Error, folder: &Path) -> anyhow::Error {
    let old: Vec<_> =
        project::sources(folder, "wasm").iter().map(|path| path.display().to_string()).collect();
    if old.is_empty() {
        return error;
    }
    anyhow!("{error:#}\nnothing was built: {} is still what an earlier build made", old.join(", "))
}

/// What is done about a language.
struct Language {
    build: Build,
    /// What may be wrong with a build that does not end.
    suspicion: &'static str,
}

/// Builds the project in a folder; where the result is.
type Build = fn(&Path, Runner) -> Result<PathBuf>;

const RUST: Language =
    Language { build: rust::build, suspicion: "give it longer with --timeout where it has much to compile" };
const JS: Language = Language {
    build: js::build,
    suspicion: "the module is run once when it is built, so look for a loop at its top level that does not end",
};
const PYTHON: Language = Language {
    build: python::build,
    suspicion: "rules.py is imported when it is built, so look for a loop at its top level that does not end, or give it \
                longer with --timeout",
};
const C: Language = Language { build: c::build, suspicion: "give it longer with --timeout" };

/// The language shows in the files.
fn language(folder: &Path) -> Result<Language> {
    ensure!(folder.is_dir(), "{} is no folder: give that of the project", folder.display());
    if folder.join("Cargo.toml").is_file() {
        Ok(RUST)
    } else if folder.join("package.json").is_file() {
        Ok(JS)
    } else if !project::sources(folder, "py").is_empty() {
        Ok(PYTHON)
    } else if !project::sources(folder, "c").is_empty() {
        Ok(C)
    } else {
        Err(anyhow!(
            "{} holds no Cargo.toml, package.json, *.py or *.c: make a project with `sawpit plugin new NAME --kind \
             filter|enrich|transform --lang rust|js|python|c`",
            folder.display()
        ))
    }
}
