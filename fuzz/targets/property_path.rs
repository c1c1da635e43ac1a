//! Target `property_path` as a program of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chassis_fuzz::property_path::run(data));
