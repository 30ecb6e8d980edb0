//! `sawpit plugin build`: drives cargo, and says what is missing and how to get it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Arg, ArgMatches, value_parser};
use sawpit_service::{Exit, SettingSpec};
use serde::Deserialize;

use super::{Stop, print};

/// What plugins are compiled for.
const TARGET: &str = "wasm32-unknown-unknown";

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
    ensure_project(&folder)?;
    ensure_target(&folder)?;
    let project = Project::of(&folder)?;
    let built = Command::new("cargo")
        .args(["build", "--release", "--target", TARGET])
        .current_dir(&folder)
        .status()
        .context("cannot start cargo")?;
    if !built.success() {
        return Err(anyhow!("cargo build failed: see above").into());
    }
    let wasm = project.take(&folder)?;
    print(&format!("built {}\n", wasm.display()));
    Ok(Exit::Done)
}

fn ensure_project(folder: &Path) -> Result<()> {
    ensure!(
        folder.join("Cargo.toml").is_file(),
        "{} holds no Cargo.toml: make a project with `sawpit plugin new NAME --kind filter|enrich|transform`",
        folder.display()
    );
    Ok(())
}

/// The toolchain may be chosen by a file of the project, so it is asked in its folder.
fn ensure_target(folder: &Path) -> Result<()> {
    let Some(sysroot) = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(folder)) else {
        return Err(anyhow!("there is no rustc that runs: install Rust from https://rustup.rs"));
    };
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib");
    ensure!(
        library.is_dir(),
        "the Rust in {} cannot compile for {TARGET}: run `rustup target add {TARGET}`",
        sysroot.trim()
    );
    Ok(())
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok()).flatten()
}

/// What `cargo metadata` says, as far as it matters here (format version 1 of cargo's reference).
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// Where the result will be, and what it is called.
struct Project {
    name: String,
    wasm: PathBuf,
}

impl Project {
    fn of(folder: &Path) -> Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(folder);
        let done = cargo
            .stdin(Stdio::null())
            .output()
            .context("there is no cargo that runs: install Rust from https://rustup.rs")?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr).trim_end());
        let metadata: Metadata = serde_json::from_slice(&done.stdout).context("cargo metadata")?;
        let manifest = fs::canonicalize(folder.join("Cargo.toml"))?;
        let package = metadata
            .packages
            .into_iter()
            .find(|package| fs::canonicalize(&package.manifest_path).is_ok_and(|path| path == manifest));
        let name = package.context("Cargo.toml is no package's: give the plugin's own folder")?.name;
        let file = format!("{}.wasm", name.replace('-', "_"));
        Ok(Self { name, wasm: metadata.target_directory.join(TARGET).join("release").join(file) })
    }

    /// Puts the result beside the manifest, under the plugin's name, in one step.
    fn take(&self, folder: &Path) -> Result<PathBuf> {
        ensure!(
            self.wasm.is_file(),
            "cargo made no {}: add crate-type = [\"cdylib\", \"rlib\"] to [lib] in Cargo.toml",
            self.wasm.display()
        );
        let (next, wasm) =
            (folder.join(format!(".{}.new", self.name)), folder.join(format!("{}.wasm", self.name)));
        fs::copy(&self.wasm, &next)
            .and_then(|_| fs::rename(&next, &wasm))
            .with_context(|| format!("cannot write {}", wasm.display()))?;
        Ok(wasm)
    }
}
