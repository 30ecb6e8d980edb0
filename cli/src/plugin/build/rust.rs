//! Rust: cargo, for wasm32-unknown-unknown.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;

use super::run::Runner;
use super::{project, tools};

/// What plugins are compiled for.
const TARGET: &str = "wasm32-unknown-unknown";

pub fn build(folder: &Path, runner: Runner) -> Result<PathBuf> {
    ensure_target(folder)?;
    let project = Project::of(folder)?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--target", TARGET]).current_dir(folder);
    runner.run(&mut cargo, "cargo build")?;
    project.take(folder)
}

/// The toolchain may be chosen by a file of the project, so it is asked in its folder.
fn ensure_target(folder: &Path) -> Result<()> {
    let Some(sysroot) = tools::output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(folder))
    else {
        return Err(anyhow!("there is no rustc that runs: install Rust from https://rustup.rs"));
    };
    let library = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib");
    ensure!(
        library.is_dir(),
        "the Rust in {} cannot compile for {TARGET}: run `rustup target add {TARGET}`{}",
        sysroot.trim(),
        without_rustup()
    );
    Ok(())
}

/// What to do first where there is no rustup. Distributions have the target in a package of its own.
fn without_rustup() -> String {
    if tools::on_path("rustup").is_some() {
        return String::new();
    }
    format!(
        ", once you have rustup (https://rustup.rs); a distribution's own Rust will do if it is {} or newer and has the \
         target, which Debian calls libstd-rust-dev-wasm32",
        env!("CARGO_PKG_RUST_VERSION")
    )
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

    /// Copies the result, which cargo wants to keep.
    fn take(&self, folder: &Path) -> Result<PathBuf> {
        ensure!(
            self.wasm.is_file(),
            "cargo made no {}: add crate-type = [\"cdylib\", \"rlib\"] to [lib] in Cargo.toml",
            self.wasm.display()
        );
        let made = project::unfinished(folder, &self.name);
        fs::copy(&self.wasm, &made).with_context(|| format!("cannot write {}", made.display()))?;
        project::take(folder, &self.name, &made)
    }
}
