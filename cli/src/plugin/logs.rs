//! The logs that a command runs plugins on, from a file or standard input.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use sawpit_model::{BodyError, Limits, Log, Timestamp, parse_log};

use super::Stop;

/// Largest file of logs, in bytes: all of it is held in memory.
const FILE_BYTES: u64 = 256 << 20;

/// The one log of a file, in any number of lines: a body of `POST /api/log`. `-` is standard input.
///
/// # Errors
/// What the host would answer with 400 or 422, and a file that cannot be read.
pub fn one(path: &Path, limits: &Limits, now: Timestamp) -> Result<Log, Stop> {
    let text = read(path, limits.body_bytes as u64)?;
    Ok(parse_log(&text, limits, now).with_context(|| name(path))?)
}

/// The logs of a file, one a line; empty lines are passed over.
///
/// # Errors
/// The first line that the host would refuse, or a file without logs.
pub fn many(path: &Path, limits: &Limits, now: Timestamp) -> Result<Vec<Log>, Stop> {
    let text = read(path, FILE_BYTES)?;
    let lines = text.split(|&byte| byte == b'\n').enumerate();
    let logs: Vec<Log> = lines
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(at, line)| parse_log(line, limits, now).map_err(|error| at_line(path, at + 1, &error)))
        .collect::<Result<_>>()?;
    if logs.is_empty() {
        return Err(anyhow!("{} holds no logs: write a body of POST /api/log a line", name(path)).into());
    }
    Ok(logs)
}

/// Syntax is told with the line of the body, which is the first.
fn at_line(path: &Path, line: usize, error: &BodyError) -> anyhow::Error {
    let (name, error) = (name(path), error.to_string().replace(" at line 1 column ", " at column "));
    anyhow!("{name}:{line}: {error}")
}

fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn read(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, Stop> {
    let cannot = |error| Stop::Usage(anyhow!("cannot read {}: {error}", name(path)));
    let source: Box<dyn Read> = if is_stdin(path) {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(cannot)?)
    };
    let mut text = Vec::new();
    source.take(limit_bytes + 1).read_to_end(&mut text).map_err(cannot)?;
    if text.len() as u64 > limit_bytes {
        return Err(anyhow!("{} is larger than {limit_bytes} bytes", name(path)).into());
    }
    Ok(text)
}
