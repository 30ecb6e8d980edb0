//! Replays the corpus of the fuzz targets, findings included.

#[path = "../../../../fuzz/src/model.rs"]
mod target;

use std::path::Path;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(!files.is_empty());
    files
}

#[test]
fn bodies() {
    corpus("body").iter().for_each(|data| target::body(data));
}

#[test]
fn entries() {
    corpus("entry").iter().for_each(|data| target::entry(data));
}
