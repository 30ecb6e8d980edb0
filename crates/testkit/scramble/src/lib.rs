//! A transformer for tests: it does to each log what the first word of its message asks for. So a test knows what must
//! become of each log it posts, however batches are cut.

use sawpit_plugin::{Batch, Fields, Outputs, Plugin, Transform, export};
use serde::Deserialize;

/// It has no settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// The plugin.
#[derive(Debug)]
pub struct Scramble;

impl Plugin for Scramble {
    const NAME: &'static str = "scramble";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const HELP: &'static str =
        "Does to each log what its message asks for: keep, drop, split, merge, fail or trap";
    const READS: Fields = Fields::all();
    type Config = Config;

    fn new(_: Config) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Transform for Scramble {
    fn transform(&self, batch: &Batch) -> Outputs {
        let mut outputs = batch.outputs();
        let mut merged_into = None;
        for log in batch.iter() {
            match log.message().split(' ').next().unwrap_or("") {
                "drop" => outputs.drop(log.index(), "it asked for it"),
                "split" => drop(outputs.split(log.index())),
                "merge" => match merged_into {
                    Some(first) => outputs.merge(first, log.index()),
                    None => merged_into = Some(log.index()),
                },
                "fail" => outputs.fail(log.index(), "it asked for it"),
                #[allow(clippy::panic, reason = "the guest is to trap")]
                "trap" => panic!("it asked for it"),
                _ => {}
            }
        }
        outputs
    }
}

export!(Scramble: transform);
