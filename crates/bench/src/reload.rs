//! From `mv` of a new version into the plugin folder to the first request that it served.
//!
//! Two versions of a filter, one that takes every log and one that drops it, take turns, so that the answer to a
//! post tells which of them served it. After the first round both are in the compile cache.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sawpit_testkit::{Guest, TempFolder, answer, on_letter, put};

use crate::system::{Running, System};

/// How often each version is moved in, after the first round.
const ROUNDS: usize = 15;
/// In the message of the log that is posted.
const MARK: char = 'X';
/// Longest wait for one version.
const PATIENCE: Duration = Duration::from_secs(10);

/// Median and longest time of the swaps, with a warm compile cache.
pub struct Reload {
    pub median: Duration,
    pub longest: Duration,
}

/// # Errors
/// A version was not served in time, or files cannot be moved.
pub fn measure(system: &System) -> Result<Reload> {
    let staged = TempFolder::new("staged");
    let cache = TempFolder::new("compiled");
    let files = stage(&staged)?;
    let cache = cache.path().to_str().context("the temporary folder's path is not UTF-8")?;
    let host = system.host_with(&["--plugin-cache", cache])?;
    // What is moved in was written a while ago, as a file that was built or downloaded.
    std::thread::sleep(Duration::from_millis(500));
    let mut times = Vec::new();
    for (file, served) in files {
        fs::rename(&file, system.plugin_path("turns.wasm")).context("moving the version in")?;
        times.push(until(&host, served)?);
    }
    times.drain(..2);
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(Reload { median, longest: times.last().copied().unwrap_or_default() })
}

/// The versions in turns, each with what the host answers when it serves.
fn stage(folder: &TempFolder) -> Result<Vec<(PathBuf, &'static str)>> {
    // Only the log that is posted, alone: a version is tried with other logs before it serves.
    let verdict = put(0, 2048) + &put(4, 1) + "(i32.store8 (i32.const 2048) (i32.const 1))";
    let drops = Guest::new("filter", on_letter(MARK, &verdict)).named("turns", "2.0.0").wasm();
    let takes = Guest::new("filter", answer()).named("turns", "1.0.0").wasm();
    let mut files = Vec::new();
    for turn in 0..2 * (ROUNDS + 1) {
        let (wasm, served) = if turn % 2 == 0 { (&drops, "dropped") } else { (&takes, "queued") };
        let path = folder.path().join(turn.to_string());
        fs::write(&path, wasm).with_context(|| path.display().to_string())?;
        files.push((path, served));
    }
    Ok(files)
}

fn until(host: &Running, served: &str) -> Result<Duration> {
    let started = Instant::now();
    loop {
        let answer = post(host.address).context("posting a log")?;
        if answer.contains(&format!("\"status\":\"{served}\"")) {
            return Ok(started.elapsed());
        }
        if started.elapsed() > PATIENCE {
            let said = host.output();
            bail!("no answer {served:?} within {PATIENCE:?}; the last was: {answer}\nThe host said:\n{said}");
        }
    }
}

fn post(address: SocketAddr) -> std::io::Result<String> {
    let body = r#"{"device_id":"turns-1","log_level":"INFO","message":"whose turn, X"}"#;
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /api/log HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
