#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sawpit_fuzz::plugins::manifest(data));
