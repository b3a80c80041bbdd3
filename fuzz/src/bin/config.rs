//! `make fuzz TARGETS=config`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cartgate_fuzz::config(data));
