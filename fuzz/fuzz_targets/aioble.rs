#![no_main]

use bondkeeper::format::{FormatId, fuzzing};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::import_any(FormatId::Aioble, bytes));
