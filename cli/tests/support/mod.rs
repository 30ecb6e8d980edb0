//! The `sawpit` program in processes of its own, and what a device or an operator does with it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod typed;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use sawpit_service::http::{self, Trust};
use sawpit_testkit::{Launch, Process, TempFolder, free_port, plugins_dir};
use serde_json::Value;

/// Long enough for a busy machine, short enough that a hang is noticed.
pub const SOON: Duration = Duration::from_secs(60);

/// Starts `sawpit` with these arguments.
pub fn sawpit(args: &[&str]) -> Process {
    Launch::new(env!("CARGO_BIN_EXE_sawpit")).args(args).start()
}

/// Runs `sawpit` to its end.
pub fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sawpit"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SAWPIT_")) {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

/// A client that asks in the clear.
pub fn client() -> reqwest::ClientBuilder {
    http::client(&Trust::Nobody).unwrap()
}

/// What is answered there.
pub async fn text(url: &str) -> String {
    client().build().unwrap().get(url).send().await.unwrap().text().await.unwrap()
}

/// An address on which nothing listens yet.
pub fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// A plugin folder with the three examples and their manifests.
pub fn example_plugins() -> TempFolder {
    let folder = TempFolder::new("plugins");
    for entry in fs::read_dir(plugins_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "wasm" || ending == "toml") {
            fs::copy(&path, folder.join(path.file_name().unwrap().to_str().unwrap())).unwrap();
        }
    }
    folder
}

/// A client that speaks JSON to one address.
pub struct Api {
    client: Client,
    base: String,
}

impl Api {
    pub fn new(base: String) -> Self {
        Self { client: client().timeout(SOON).build().unwrap(), base }
    }

    /// Where it asks.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub async fn post(&self, path: &str, body: String) -> (StatusCode, Value) {
        let request = self.client.post(format!("{}{path}", self.base));
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        let status = answer.status();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = self.client.request(Method::GET, format!("{}{path}", self.base));
        let answer = request.header("cache-control", "no-cache").send().await.unwrap();
        let status = answer.status();
        let body = answer.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Asks for the device's logs (the newest 1,000) until one fits.
    pub async fn wait_row(&self, device_id: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let (status, page) = self.get(&format!("/api/logs/{device_id}?limit=1000")).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            if let Some(row) = page["data"].as_array().unwrap().iter().find(|row| fits(row)) {
                return row.clone();
            }
            assert!(Instant::now() < deadline, "no such row of {device_id}; last answer: {page}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Follows the new rows of a device; the answer's text comes piece by piece.
    pub async fn tail(&self, device_id: &str) -> reqwest::Response {
        let request = self.client.get(format!("{}/api/tail?device_id={device_id}", self.base));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer
    }

    /// Waits until the message is stored, and says in how many rows; it must be `expected` of them.
    pub async fn wait_rows(&self, device_id: &str, message_id: &Value, expected: usize) {
        self.wait_row(device_id, |row| names(row, message_id)).await;
        let mut cursor = String::new();
        let mut rows = 0;
        loop {
            let (_, page) = self.get(&format!("/api/logs/{device_id}?limit=1000{cursor}")).await;
            rows += page["data"].as_array().unwrap().iter().filter(|row| names(row, message_id)).count();
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(rows, expected, "rows of {message_id}");
    }

    /// How many rows name each id, of all rows of the device.
    pub async fn rows_by_id(&self, device_id: &str) -> BTreeMap<String, usize> {
        let (mut rows, mut cursor) = (BTreeMap::new(), String::new());
        loop {
            let (status, page) = self.get(&format!("/api/logs/{device_id}?limit=1000{cursor}")).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            for row in page["data"].as_array().unwrap() {
                let sources = row["sources"].as_array().map_or(&[][..], Vec::as_slice);
                let ids: BTreeSet<_> =
                    sources.iter().chain([&row["message_id"]]).filter_map(Value::as_str).collect();
                ids.into_iter().for_each(|id| *rows.entry(id.to_owned()).or_default() += 1);
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    /// The id of the chain that serves.
    pub async fn chain(&self) -> String {
        self.get("/api/plugins").await.1["chain"].as_str().unwrap().to_owned()
    }
}

fn names(row: &Value, message_id: &Value) -> bool {
    row["message_id"] == *message_id
        || row["sources"].as_array().is_some_and(|sources| sources.contains(message_id))
}

/// Appends a custom section: another file, the same plugin.
pub fn another_build(wasm: &Path) -> Vec<u8> {
    let mut bytes = fs::read(wasm).unwrap();
    let name = b"build";
    let content = [&[u8::try_from(name.len()).unwrap()], &name[..], b"2"].concat();
    bytes.extend([0, u8::try_from(content.len()).unwrap()]);
    bytes.extend(content);
    bytes
}

/// Puts `bytes` at `path` as a deployment does: whole, by rename.
pub fn deploy(path: &Path, bytes: &[u8]) {
    let next = path.with_extension("next");
    fs::write(&next, bytes).unwrap();
    fs::rename(next, path).unwrap();
}

/// Posts logs of a device, whose number is their message, until a tail shows one; that one's row.
pub async fn followed(api: &Api, tail: &mut reqwest::Response, device_id: &str) -> Value {
    let deadline = Instant::now() + SOON;
    let mut text = String::new();
    for number in 0.. {
        assert!(Instant::now() < deadline, "nothing of {device_id} was shown: {text}");
        let log = format!(r#"{{"device_id":"{device_id}","log_level":"ERROR","message":"number {number}"}}"#);
        assert_eq!(api.post("/api/log", log).await.0, StatusCode::ACCEPTED);
        if let Ok(chunk) = tokio::time::timeout(Duration::from_millis(100), tail.chunk()).await {
            text.push_str(&String::from_utf8_lossy(&chunk.unwrap().unwrap()));
        }
        if let Some(line) = text.lines().find_map(|line| line.strip_prefix("data: ")) {
            return serde_json::from_str(line).unwrap();
        }
    }
    unreachable!("numbers do not end")
}
