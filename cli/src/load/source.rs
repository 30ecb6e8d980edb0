//! Where the bodies come from, and when each is due.

use std::io::{BufRead, BufReader, stdin};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::LoadSettings;
use super::devices::Devices;

/// One request.
pub struct Body {
    /// The JSON to post.
    pub json: String,
    /// Whose logs these are, in their order.
    pub device_ids: Vec<String>,
    /// When it should be sent; `None` without a rate.
    pub due: Option<Instant>,
    /// Whether it goes to `/api/log` or `/api/logs/batch`.
    pub shape: Shape,
}

/// Which call a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `POST /api/log`
    Single,
    /// `POST /api/logs/batch`
    Batch,
}

/// Sends every body to the connections; waits where they are behind.
pub async fn produce(settings: &LoadSettings, sender: mpsc::Sender<Body>) -> Result<()> {
    match &settings.file {
        Some(path) => replay(settings, path, sender).await,
        None => simulate(settings, sender).await,
    }
}

async fn simulate(settings: &LoadSettings, sender: mpsc::Sender<Body>) -> Result<()> {
    let mut devices = Devices::new(settings.devices, settings.seed);
    let mut pace = Pace::new(settings.rate);
    let end = Instant::now() + settings.duration;
    while Instant::now() < end {
        let logs = (0..settings.batch).map(|_| devices.next_log()).map(|log| (log.device_id, log.body));
        let body = assemble(logs.collect(), settings.batch, pace.wait(settings.batch).await);
        if sender.send(body).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn replay(settings: &LoadSettings, path: &Path, sender: mpsc::Sender<Body>) -> Result<()> {
    let (lines, mut logs) = mpsc::channel::<Result<(String, String)>>(4_096);
    let owned = path.to_owned();
    // Reading blocks, so it has a thread of its own; it ends when the receiver is gone.
    std::thread::spawn(move || read_lines(&owned, &lines));
    let mut pace = Pace::new(settings.rate);
    let mut pending = Vec::with_capacity(settings.batch);
    loop {
        let log = logs.recv().await.transpose()?;
        let ended = log.is_none();
        pending.extend(log);
        if pending.len() == settings.batch || (ended && !pending.is_empty()) {
            let due = pace.wait(pending.len()).await;
            let body = assemble(std::mem::take(&mut pending), settings.batch, due);
            if sender.send(body).await.is_err() {
                break;
            }
        }
        if ended {
            break;
        }
    }
    Ok(())
}

fn read_lines(path: &Path, lines: &mpsc::Sender<Result<(String, String)>>) {
    let reader: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(BufReader::new(stdin()))
    } else {
        match std::fs::File::open(path).with_context(|| path.display().to_string()) {
            Ok(file) => Box::new(BufReader::new(file)),
            Err(error) => {
                let _ = lines.blocking_send(Err(error));
                return;
            }
        }
    };
    for (number, line) in reader.lines().enumerate() {
        let log = line.map_err(anyhow::Error::from).and_then(parse_line);
        let log = match log {
            Ok(None) => continue,
            Ok(Some(log)) => Ok(log),
            Err(error) => Err(error.context(format!("{}: line {}", path.display(), number + 1))),
        };
        if lines.blocking_send(log).is_err() {
            return;
        }
    }
}

/// The device and the body of a line; blank lines are skipped.
fn parse_line(line: String) -> Result<Option<(String, String)>> {
    #[derive(Deserialize)]
    struct Device {
        device_id: String,
    }
    if line.trim().is_empty() {
        return Ok(None);
    }
    let device: Device = serde_json::from_str(&line).context("not a log with a device_id")?;
    Ok(Some((device.device_id, line)))
}

fn assemble(logs: Vec<(String, String)>, batch: usize, due: Option<Instant>) -> Body {
    let (device_ids, bodies): (Vec<_>, Vec<_>) = logs.into_iter().unzip();
    if batch == 1 {
        return Body { json: bodies.concat(), device_ids, due, shape: Shape::Single };
    }
    Body { json: format!(r#"{{"logs":[{}]}}"#, bodies.join(",")), device_ids, due, shape: Shape::Batch }
}

/// Spreads logs evenly over time.
struct Pace {
    per_log: Option<Duration>,
    next: Instant,
}

impl Pace {
    fn new(rate: Option<u32>) -> Self {
        let per_log = rate.and_then(|rate| Duration::from_secs(1).checked_div(rate));
        Self { per_log, next: Instant::now() }
    }

    /// Waits until the next request of `logs` logs is due and returns that moment.
    async fn wait(&mut self, logs: usize) -> Option<Instant> {
        let per_log = self.per_log?;
        let due = self.next;
        self.next += per_log * u32::try_from(logs).unwrap_or(u32::MAX);
        tokio::time::sleep_until(due.into()).await;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_a_device_is_refused_and_a_blank_one_skipped() {
        assert!(parse_line("{}".into()).is_err());
        assert!(parse_line("  ".into()).unwrap().is_none());
        assert_eq!(parse_line(r#"{"device_id":"a"}"#.into()).unwrap().unwrap().0, "a");
    }

    #[test]
    fn a_batch_keeps_the_order_of_its_devices() {
        let logs = vec![("a".to_owned(), "{}".to_owned()), ("b".to_owned(), "[]".to_owned())];
        let body = assemble(logs, 2, None);
        assert_eq!(body.json, r#"{"logs":[{},[]]}"#);
        assert_eq!(body.device_ids, ["a", "b"]);
        assert_eq!(body.shape, Shape::Batch);
    }
}
