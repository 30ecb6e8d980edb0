//! The logs that a command runs plugins on, from a file or standard input.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sawpit_model::{Limits, Log, Timestamp, parse_log};

/// Largest file of logs, in bytes: all of it is held in memory.
const FILE_BYTES: u64 = 256 << 20;

/// The one log of a file, in any number of lines: a body of `POST /api/log`. `-` is standard input.
///
/// # Errors
/// What the host would answer with 400 or 422.
pub fn one(path: &Path, limits: &Limits, now: Timestamp) -> Result<Log> {
    let text = read(path, limits.body_bytes as u64)?;
    parse_log(&text, limits, now).with_context(|| name(path))
}

/// The logs of a file, one a line; empty lines are passed over.
///
/// # Errors
/// The first line that the host would refuse, or a file without logs.
pub fn many(path: &Path, limits: &Limits, now: Timestamp) -> Result<Vec<Log>> {
    let text = read(path, FILE_BYTES)?;
    let lines = text.split(|&byte| byte == b'\n').enumerate();
    let logs: Vec<Log> = lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(at, line)| parse_log(line, limits, now).with_context(|| format!("{}:{}", name(path), at + 1)))
        .collect::<Result<_>>()?;
    ensure!(!logs.is_empty(), "{} holds no logs: write a body of POST /api/log a line", name(path));
    Ok(logs)
}

fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn read(path: &Path, limit_bytes: u64) -> Result<Vec<u8>> {
    let source: Box<dyn Read> = if is_stdin(path) {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).with_context(|| name(path))?)
    };
    let mut text = Vec::new();
    source.take(limit_bytes + 1).read_to_end(&mut text).with_context(|| name(path))?;
    ensure!(text.len() as u64 <= limit_bytes, "{} is larger than {limit_bytes} bytes", name(path));
    Ok(text)
}
