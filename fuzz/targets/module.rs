//! Target `module` as a program of libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chassis_fuzz::module::run(data));
