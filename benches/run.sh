#!/usr/bin/env bash
# benches/run.sh [METRIC...]
#
# Measures the release binary, prints a table and writes target/bench/results.json. With numbers, only these metrics.
# Needs mosquitto. BONDKEEPER_TEST_PYTHON names a Python that has habluetooth; without it the peers are left out.
# How each figure is taken, and what may not be compared: docs/performance.md.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "$CARGO_TARGET_DIR/bench"

cargo build --release --bin bondkeeper
rustc --edition 2024 -O --crate-type cdylib -o "$CARGO_TARGET_DIR/bench/libsync_times.so" benches/probe/sync_times.rs

export BONDKEEPER_BENCH_TARGET=$CARGO_TARGET_DIR
export BONDKEEPER_BENCH_BINARY=$CARGO_TARGET_DIR/release/bondkeeper
export BONDKEEPER_BENCH_PROBE=$CARGO_TARGET_DIR/bench/libsync_times.so
# The side that measures is built without optimisation, with what the tests have built already.
exec cargo bench --profile dev --bench figures -- "$@"
