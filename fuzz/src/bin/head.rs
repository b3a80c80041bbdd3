//! `make fuzz TARGETS=head`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cartgate_fuzz::head(data));
