//! Other people's programs: where they are, and what they print.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
