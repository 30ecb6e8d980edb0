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
    // In the same test: the target has one file.
    plugins_with_changes_at_random();
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    /// Some bytes overwritten, taken out, or doubled.
    fn change(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let end = (at + 1 + self.below(16)).min(bytes.len());
            match self.below(4) {
                0 => bytes[at] = self.below(256) as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 if bytes.len() > 32 => drop(bytes.drain(at..end)),
                _ => {
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        bytes
    }
}

/// How many changed files are tried; more with `FUZZ_ROUNDS`.
fn rounds(usual: usize) -> usize {
    std::env::var("FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn manifests_with_changes_at_random() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/manifest");
    let files = std::fs::read_dir(folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let (seeds, mut numbers) = (files.collect::<Vec<_>>(), Numbers(0x5eed));
    for round in 0..rounds(5_000) {
        target::manifest(&numbers.change(&seeds[round % seeds.len()]));
    }
}

fn plugins_with_changes_at_random() {
    let wasm = |name: &&str| std::fs::read(plugins_dir().join(name).with_extension("wasm")).unwrap();
    let (seeds, mut numbers) = (GUESTS.iter().map(wasm).collect::<Vec<_>>(), Numbers(0x5eed));
    for round in 0..rounds(60) {
        target::loader(&numbers.change(&seeds[round % seeds.len()]));
    }
}
