//! `make fuzz TARGETS=words`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cartgate_fuzz::words(data));
