//! Replays the corpus of the fuzz targets, findings included, and broken copies of the example plugins.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "../../../fuzz/src/plugins.rs"]
mod target;

use std::path::Path;

use sawpit_testkit::{GUESTS, plugins_dir};

#[test]
fn manifests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/manifest");
    for file in std::fs::read_dir(folder).unwrap() {
        target::manifest(&std::fs::read(file.unwrap().path()).unwrap());
    }
}

#[test]
fn plugins_that_are_cut_off_or_changed() {
    for name in GUESTS {
        let wasm = std::fs::read(plugins_dir().join(name).with_extension("wasm")).unwrap();
        for part in 0..8 {
            target::loader(&wasm[..wasm.len() * part / 8]);
            let mut changed = wasm.clone();
            changed[wasm.len() * part / 8 + 3] ^= 0x55;
            target::loader(&changed);
        }
    }
}
