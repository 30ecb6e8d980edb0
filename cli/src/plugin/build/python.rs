//! Python: componentize-py, which puts the source and CPython into one component.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::run::Runner;
use super::{project, tools};

/// Where a virtual environment in the project has its programs.
const BIN: &str = ".venv/bin";
const TOOL: &str = "componentize-py";
/// The module that exports the classes.
const MODULE: &str = "rules";

pub fn build(folder: &Path, runner: Runner) -> Result<PathBuf> {
    let name = project::name(folder)?;
    ensure!(
        folder.join(format!("{MODULE}.py")).is_file(),
        "there is no {MODULE}.py, the module of the plugin"
    );
    let tool = tool(folder)?;
    let (resolve, world) = project::world(folder)?;
    let world = resolve.worlds.get(world).map(|world| world.name.as_str()).unwrap_or_default();
    let made = project::unfinished(folder, &name);
    let mut command = Command::new(&tool);
    command.args(["-d", "wit", "-w", world, "componentize", "-p", ".", MODULE, "-o"]);
    command.arg(made.file_name().unwrap_or_default()).current_dir(folder);
    if let Some(environment) = environment_of(&tool) {
        // So that what is installed beside the tool can be imported.
        command.env("VIRTUAL_ENV", environment);
    }
    runner.run_silently(&mut command, TOOL)?;
    project::take(folder, &name, &made)
}

/// The virtual environment that a program is part of.
fn environment_of(tool: &Path) -> Option<&Path> {
    let environment = tool.parent().filter(|bin| bin.file_name() == Some(OsStr::new("bin")))?.parent()?;
    environment.join("pyvenv.cfg").is_file().then_some(environment)
}

fn tool(folder: &Path) -> Result<PathBuf> {
    tools::find(folder, BIN, TOOL).with_context(|| {
        format!(
            "{TOOL} is not installed: run `python3 -m venv .venv && .venv/bin/pip install -r requirements.txt` in {} \
             (Python is from https://www.python.org, or on Debian `apt-get install python3-venv`)",
            folder.display()
        )
    })
}
