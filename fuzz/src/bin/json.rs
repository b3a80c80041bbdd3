//! `make fuzz TARGETS=json`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cartgate_fuzz::json(data));
