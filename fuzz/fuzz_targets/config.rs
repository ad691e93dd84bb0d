#![no_main]

use std::path::PathBuf;

use bondkeeper::config::{Settings, Sources};

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    let file: PathBuf = std::env::temp_dir().join(format!("bondkeeper-fuzz-{}.json", std::process::id()));
    std::fs::write(&file, octets).expect("write the options");
    let environment = vec![("BONDKEEPER__LOG_LEVEL".to_owned(), "debug".to_owned())];
    let sources = Sources { file: Some(file), environment, ..Sources::default() };
    if let Ok(settings) = Settings::load(&sources, "host") {
        let _ = settings.to_public_json();
    }
});
