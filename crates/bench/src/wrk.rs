//! The load generator `wrk`, and what it measured.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sawpit_testkit::TempFolder;

/// Kept-alive connections of the load generator.
const CONNECTIONS: u32 = 64;

/// Of one that asks: what counts is how long one answer takes.
const ASKING: u32 = 1;

/// What one request carries.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// One log to `/api/log`.
    Single,
    /// This many logs to `/api/logs/batch`.
    Batch(u32),
    /// No log: it asks for the newest ones of 100 devices in turn.
    Query(Answerer),
}

/// Who shall answer a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// The cache, once it has the answers.
    Cache,
    /// The database, each time.
    Database,
}

/// One measurement to make.
#[derive(Clone, Copy)]
pub struct Load {
    pub address: SocketAddr,
    pub shape: Shape,
    pub duration: Duration,
}

/// What came out of it.
pub struct Measured {
    pub requests_per_second: f64,
    pub logs_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Load {
    /// # Errors
    /// wrk is missing or fails, or an answer was not 2xx: then the figure would be of something else.
    pub fn run(&self) -> Result<Measured> {
        let folder = TempFolder::new("wrk");
        let script = folder.join("post.lua");
        std::fs::write(&script, self.script()).context("writing the script of wrk")?;
        let output = Command::new("wrk")
            .args(["-t", "1", "-c", &self.connections().to_string(), "--latency"])
            .arg("-d")
            .arg(format!("{}s", self.duration.as_secs().max(1)))
            .arg("-s")
            .arg(&script)
            .arg(format!("http://{}", self.address))
            .output()
            .context("wrk is needed: apt-get install wrk")?;
        self.read(&String::from_utf8_lossy(&output.stdout))
    }

    const fn connections(&self) -> u32 {
        match self.shape {
            Shape::Query(_) => ASKING,
            Shape::Single | Shape::Batch(_) => CONNECTIONS,
        }
    }

    fn script(&self) -> String {
        match self.shape {
            Shape::Query(answerer) => asking(answerer),
            Shape::Single => posting("/api/log", 1, ("", "")),
            Shape::Batch(logs) => posting("/api/logs/batch", logs, (r#"{"logs":["#, "]}")),
        }
    }

    fn read(&self, printed: &str) -> Result<Measured> {
        if printed.contains("Non-2xx") || printed.contains("Socket errors") {
            bail!("not every request was answered 2xx:\n{printed}");
        }
        // At the beginning of a line: other percentages stand within lines.
        let word_after = |label: &str| {
            let mut lines = printed.lines().map(str::split_whitespace);
            lines.find_map(|mut words| if words.next() == Some(label) { words.next() } else { None })
        };
        let per_second = word_after("Requests/sec:").and_then(|text| text.parse::<f64>().ok());
        let (p50_ms, p99_ms) =
            (word_after("50%").and_then(milliseconds), word_after("99%").and_then(milliseconds));
        let (Some(requests_per_second), Some(p50_ms), Some(p99_ms)) = (per_second, p50_ms, p99_ms) else {
            bail!("wrk printed no result:\n{printed}");
        };
        let logs = match self.shape {
            Shape::Single => 1.0,
            Shape::Batch(logs) => f64::from(logs),
            Shape::Query(_) => 0.0,
        };
        Ok(Measured { requests_per_second, logs_per_second: requests_per_second * logs, p50_ms, p99_ms })
    }
}

/// Bodies are made before the run, so that wrk does not spend the machine on making them.
fn posting(path: &str, logs: u32, (open, close): (&str, &str)) -> String {
    format!(
        r#"
local function log(n)
    return '{{"device_id":"sensor-' .. (n % 100) .. '","log_level":"INFO","message":"reading number ' .. n ..
        ' taken at the usual place","log_data":{{"temperature":' .. (n % 60) .. '.25,"humidity":' .. (n % 100) ..
        ',"firmware":"2.1.7"}}}}'
end
local bodies = {{}}
for i = 1, 200 do
    local logs = {{}}
    for j = 1, {logs} do logs[j] = log(i * 1000 + j) end
    bodies[i] = '{}' .. table.concat(logs, ",") .. '{}'
end
wrk.method = "POST"
wrk.path = "{path}"
wrk.headers["Content-Type"] = "application/json"
local turn = 0
request = function()
    turn = turn % #bodies + 1
    return wrk.format(nil, nil, nil, bodies[turn])
end
"#,
        open, close
    )
}

fn asking(answerer: Answerer) -> String {
    let cache_control = match answerer {
        Answerer::Cache => "",
        Answerer::Database => r#"wrk.headers["Cache-Control"] = "no-cache""#,
    };
    format!(
        r#"
{cache_control}
local turn = 0
request = function()
    turn = turn + 1
    return wrk.format("GET", "/api/logs/sensor-" .. (turn % 100))
end
"#
    )
}

/// From wrk's `850.00us`, `3.20ms` or `1.02s`.
fn milliseconds(text: &str) -> Option<f64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    match unit {
        "us" => Some(number / 1_000.0),
        "ms" => Some(number),
        "s" => Some(number * 1_000.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "    Req/Sec    25.20k     1.31k   27.67k    82.50%\n  Latency Distribution\n     50%    1.00ms\n     99%    3.20ms\n  10 requests in 1.00s, 1MB read\nRequests/sec:  12345.67\n";

    fn batch() -> Load {
        Load {
            address: ([127, 0, 0, 1], 1).into(),
            shape: Shape::Batch(100),
            duration: Duration::from_secs(1),
        }
    }

    #[test]
    fn reads_what_wrk_prints() {
        let measured = batch().read(PRINTED).unwrap();
        assert_eq!(measured.logs_per_second, 1_234_567.0);
        assert_eq!((measured.p50_ms, measured.p99_ms), (1.0, 3.2));
        assert_eq!(milliseconds("850.00us"), Some(0.85));
        assert_eq!(milliseconds("1.02s"), Some(1_020.0));
    }

    #[test]
    fn a_run_with_refused_requests_has_no_figure() {
        assert!(batch().read(&format!("{PRINTED}  Non-2xx or 3xx responses: 7\n")).is_err());
        assert!(batch().read("").is_err());
    }
}
