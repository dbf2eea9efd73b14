#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| basin_fuzzing::targets::run("proxy", octets));
