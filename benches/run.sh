#!/usr/bin/env bash
# benches/run.sh [METRIC...]
#
# Measures the release binary beside the least that is possible and beside what others take, prints a table, and writes
# target/bench/results.json and target/bench/growth.svg. With numbers, only these metrics. Exits with 0 when all could be
# measured, whether or not the goals are met. What needs a real kernel is taken by benches/guest.sh.
#
# Needs mosquitto. The peers (habluetooth, Home Assistant's storage, MicroPython for aioble's) are installed into
# target/bench/peers the first time; BONDKEEPER_BENCH_PEERS names another folder for them, or is `none` to leave them out.
# How each figure is taken, and what may not be compared: docs/performance.md.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "$CARGO_TARGET_DIR/bench"

cargo build --release --bin bondkeeper
rustc --edition 2024 -O --crate-type cdylib -o "$CARGO_TARGET_DIR/bench/libsync_times.so" benches/probe/sync_times.rs

missing=0
export BONDKEEPER_BENCH_PEERS=${BONDKEEPER_BENCH_PEERS:-$CARGO_TARGET_DIR/bench/peers}
[ "$BONDKEEPER_BENCH_PEERS" = none ] || benches/peers/install.sh "$BONDKEEPER_BENCH_PEERS" || missing=1

export BONDKEEPER_BENCH_TARGET=$CARGO_TARGET_DIR
export BONDKEEPER_BENCH_BINARY=$CARGO_TARGET_DIR/release/bondkeeper
export BONDKEEPER_BENCH_PROBE=$CARGO_TARGET_DIR/bench/libsync_times.so
# The side that measures is built without optimisation, with what the tests have built already.
cargo bench --profile dev --bench figures -- "$@"
[ "$missing" = 0 ] || { echo "benches/run.sh: a peer is missing: its rows were not measured" >&2; exit 1; }
