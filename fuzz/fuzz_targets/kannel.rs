#![no_main]

#[allow(dead_code)]
#[path = "../../tests/suite/fuzz/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| targets::kannel_says(octets));
