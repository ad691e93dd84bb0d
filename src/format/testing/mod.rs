//! What the tests of all formats share: files of other systems with the truth that they hold
//! (here), bonds of every kind ([`bonds`]) and what has to come back of an export ([`round_trip`]).

pub(crate) mod bonds;
pub(crate) mod round_trip;

use serde_json::Value;

use super::canonical::{self, Keys};
use super::{FormatId, ImportOptions, Imported, Input};

/// Reads `input` and compares with what `expected` (an `expected.json` of the fixtures) says: the
/// decoded truth, or that it is refused and where.
pub(crate) fn assert_fixture(
    name: &str,
    format: FormatId,
    input: Input<'_>,
    options: &ImportOptions,
    expected: &str,
) -> Option<Imported> {
    let expected: Value = serde_json::from_str(expected).unwrap();
    match super::import(format, input, options) {
        Ok(imported) => {
            assert_eq!(expected["outcome"], "accept", "{name} should have been refused");
            let written = canonical::write(&imported, Keys::Revealed).unwrap();
            let found: Value = serde_json::from_slice(&written).unwrap();
            assert_eq!(sorted(&found["adapters"]), sorted(&expected["adapters"]), "{name}");
            if expected.get("warnings").is_some() {
                let report = &imported.report;
                assert!(!report.is_lossless() || !report.notes.is_empty(), "{name}: nothing is reported");
            }
            Some(imported)
        }
        Err(error) => {
            assert_eq!(expected["outcome"], "refuse", "{name}: {error}");
            if let Some(place) = expected["where"].as_str() {
                assert!(error.to_string().contains(place), "{name}: {error} does not name {place}");
            }
            None
        }
    }
}

/// The order of adapters and peers has no meaning.
fn sorted(adapters: &Value) -> Vec<Value> {
    let by = |list: &mut Vec<Value>, field: &'static str| list.sort_by_key(|item| item[field].to_string());
    let mut adapters = adapters.as_array().unwrap().clone();
    for adapter in &mut adapters {
        by(adapter["peers"].as_array_mut().unwrap(), "address");
    }
    by(&mut adapters, "adapter");
    adapters
}
