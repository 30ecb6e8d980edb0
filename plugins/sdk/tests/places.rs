//! A panic of the SDK that is the author's mistake points to the author's line. A file of its own: the hook that sees it
//! is the whole process's.
#![allow(clippy::unwrap_used, missing_docs)]

use std::panic;
use std::sync::Mutex;

use sawpit_plugin::testing::{self, Sample};
use sawpit_plugin::{Batch, Enrich, Fields, Level, Log, NoConfig, Outputs, Patch, Plugin, Transform};

/// Makes the mistake that a log's message names.
struct Careless;

impl Plugin for Careless {
    const NAME: &'static str = "careless";
    const VERSION: &'static str = "1.2.3";
    const HELP: &'static str = "Makes mistakes";
    const READS: Fields = Fields::MESSAGE;
    type Config = NoConfig;

    fn new(_config: NoConfig) -> Result<Self, String> {
        Ok(Self)
    }
}

const READS: [&str; 7] = ["device", "level", "data", "time", "number", "text", "parse"];

impl Enrich for Careless {
    fn enrich(&self, log: &Log<'_>) -> Result<Patch, String> {
        let patch = Patch::new();
        Ok(match log.message() {
            "device" => patch.set("x", log.device_id()),
            "level" => patch.set("x", log.level()),
            "data" => patch.set("x", log.data()),
            "time" => patch.set("x", log.received_at()),
            "number" => patch.set("x", log.number("a")),
            "text" => patch.set("x", log.text("a")),
            "parse" => patch.set("x", log.parse::<bool>("a")),
            _ => patch,
        })
    }
}

const INDICES: [&str; 6] = ["keep", "edit", "split", "merge", "drop", "fail"];

impl Transform for Careless {
    fn transform(&self, batch: &Batch) -> Outputs {
        let mut outputs = batch.outputs();
        match batch.get(0).unwrap().message() {
            "keep" => outputs.keep(1),
            "edit" => drop(outputs.edit(1).message("")),
            "split" => drop(outputs.split(1).message("")),
            "merge" => outputs.merge(0, 1),
            "drop" => outputs.drop(1, ""),
            "fail" => outputs.fail(1, ""),
            _ => {}
        }
        outputs
    }
}

static PLACES: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[test]
fn the_authors_line_is_named() {
    panic::set_hook(Box::new(|panic| {
        PLACES.lock().unwrap().push(panic.location().unwrap().file().to_owned())
    }));
    let log = |message| [Sample::new("d", Level::Info, message, "{}")];
    for message in READS {
        panic::catch_unwind(|| testing::enrich::<Careless>("{}", &log(message))).unwrap_err();
    }
    for message in INDICES {
        panic::catch_unwind(|| testing::transform::<Careless>("{}", &log(message))).unwrap_err();
    }
    panic::catch_unwind(|| testing::enrich::<Careless>(r#"{"a":1}"#, &log("config"))).unwrap_err();
    drop(panic::take_hook());
    let places = PLACES.lock().unwrap();
    assert_eq!(places.len(), READS.len() + INDICES.len() + 1);
    assert!(places.iter().all(|file| file.ends_with("places.rs")), "{places:?}");
}
