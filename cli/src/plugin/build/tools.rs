//! Other people's programs: where they are, and how they ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A program in `below` (such as `.venv/bin`) of the folder or one above it, else on the PATH.
pub fn find(folder: &Path, below: &str, program: &str) -> Option<PathBuf> {
    let folder = fs::canonicalize(folder).ok()?;
    let near = folder.ancestors().map(|above| above.join(below).join(program)).find(|path| path.is_file());
    near.or_else(|| on_path(program))
}

/// A program on the PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = sawpit_service::settings::process_env("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// What a program prints; `None` when it cannot be run or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok()).flatten()
}

/// Runs a tool that tells the author how it goes.
pub fn run(command: &mut Command, name: &str) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {name}"))?;
    ensure!(status.success(), "{name} failed: see above");
    Ok(())
}

/// Runs a tool that says something useful only when it fails.
pub fn run_silently(command: &mut Command, name: &str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    let said = [output.stderr, output.stdout].concat();
    ensure!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&said).trim());
    Ok(())
}
