//! `make fuzz TARGETS=multipart`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cartgate_fuzz::multipart(data));
