//! A filter that asks WASI for what a plugin has not got: it drops logs whose message is what it finds.

use sawpit_plugin::{Fields, Filter, Log, Plugin, Verdict, export};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {}

struct Wasi;

impl Plugin for Wasi {
    const NAME: &'static str = "wasip2";
    const VERSION: &'static str = "0.1.0";
    const HELP: &'static str = "Says what it finds of a system";
    const READS: Fields = Fields::MESSAGE;
    type Config = Config;

    fn new(_: Config) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Filter for Wasi {
    fn filter(&self, log: &Log<'_>) -> Result<Verdict, String> {
        println!("printed by a guest of wasm32-wasip2");
        let files = std::fs::read_dir("/").map(Iterator::count).unwrap_or_default();
        let found = match log.message() {
            "files" => files,
            "variables" => std::env::vars().count(),
            "arguments" => std::env::args().count(),
            "network" => usize::from(std::net::TcpStream::connect("127.0.0.1:80").is_ok()),
            "panic" => panic!("this is the end"),
            _ => return Ok(Verdict::Accept),
        };
        Ok(if found == 0 { Verdict::Accept } else { Verdict::reject(format!("found {found}")) })
    }
}

export!(Wasi: filter);
