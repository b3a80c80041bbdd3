//! `make fuzz TARGETS=form`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cartgate_fuzz::form(data));
