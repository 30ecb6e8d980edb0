//! JavaScript: componentize-qjs, which puts the source and QuickJS into one component.
//!
//! It is the QuickJS back end of jco, whose own command brings 145 more packages and 300 MB. The component is made
//! without async (`--sync`), which the host does not offer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::run::Runner;
use super::{project, tools};

/// Where npm puts programs.
const BIN: &str = "node_modules/.bin";
const TOOL: &str = "componentize-qjs";

/// What package.json says, as far as it matters here.
#[derive(Deserialize)]
struct Package {
    name: String,
    #[serde(default = "rules")]
    main: String,
}

fn rules() -> String {
    "rules.js".to_owned()
}

pub fn build(folder: &Path, runner: Runner) -> Result<PathBuf> {
    let package = fs::read(folder.join("package.json"))?;
    let Package { name, main } = serde_json::from_slice(&package).with_context(|| {
        format!("{} is no package.json with a name", folder.join("package.json").display())
    })?;
    ensure!(folder.join(&main).is_file(), "there is no {main}, which package.json calls its main file");
    let tool = tool(folder)?;
    let (resolve, world) = project::world(folder)?;
    let world = resolve.worlds.get(world).map(|world| world.name.as_str()).unwrap_or_default();
    let made = project::unfinished(folder, &name);
    let mut command = Command::new(tool);
    command.args(["--wit", "wit", "--js", &main, "--world", world, "--sync", "--output"]);
    runner.run_silently(command.arg(made.file_name().unwrap_or_default()).current_dir(folder), TOOL)?;
    project::take(folder, &name, &made)
}

fn tool(folder: &Path) -> Result<PathBuf> {
    ensure!(
        tools::on_path("node").is_some(),
        "there is no Node.js (node is not on the PATH): install it from https://nodejs.org, or on Debian with \
         `apt-get install nodejs npm`"
    );
    tools::find(folder, BIN, TOOL).with_context(|| {
        format!(
            "{TOOL} is not installed: run `npm install` in {}, or `npm install --save-dev {TOOL}` where package.json \
             does not name it",
            folder.display()
        )
    })
}
