//! `sawpit plugin build`: drives the toolchain of the project's language, and says what is missing and how to get it.
//!
//! The key decision: no toolchain is installed or configured here. Each language's own tool is looked for where its
//! users put it, given the project, and its result put beside the manifest in one step.

mod c;
mod js;
mod project;
mod python;
mod rust;
mod tools;

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, ensure};
use clap::{Arg, ArgMatches, value_parser};
use sawpit_service::{Exit, SettingSpec};

use super::{Stop, print};

pub fn args() -> Vec<Arg> {
    let folder = Arg::new("dir")
        .value_name("DIR")
        .help("The project's folder [default: .]")
        .value_parser(value_parser!(PathBuf))
        .default_value(".")
        .hide_default_value(true);
    vec![folder]
}

/// It works with nothing but what is asked.
pub fn specs() -> Vec<SettingSpec> {
    Vec::new()
}

pub fn run(flags: &ArgMatches) -> Result<Exit, Stop> {
    let folder = flags.get_one::<PathBuf>("dir").cloned().unwrap_or_default();
    let wasm = toolchain(&folder)?(&folder)?;
    print(&format!("built {}\n", wasm.display()));
    Ok(Exit::Done)
}

/// Builds the project in a folder; where the result is.
type Build = fn(&Path) -> Result<PathBuf>;

/// The language shows in the files.
fn toolchain(folder: &Path) -> Result<Build> {
    ensure!(folder.is_dir(), "{} is no folder: give that of the project", folder.display());
    if folder.join("Cargo.toml").is_file() {
        Ok(rust::build)
    } else if folder.join("package.json").is_file() {
        Ok(js::build)
    } else if !project::sources(folder, "py").is_empty() {
        Ok(python::build)
    } else if !project::sources(folder, "c").is_empty() {
        Ok(c::build)
    } else {
        Err(anyhow!(
            "{} holds no Cargo.toml, package.json, *.py or *.c: make a project with `sawpit plugin new NAME --kind \
             filter|enrich|transform --lang rust|js|python|c`",
            folder.display()
        ))
    }
}
