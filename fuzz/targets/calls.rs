//! Target `calls` as a program of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chassis_fuzz::calls::run(data));
