#!/usr/bin/env bash
# tests/soak/run.sh [MINUTES [CSV [LOAD]]]
#
# The release binary at a hundred times a busy home's rate; by default for an hour, with the samples in
# target/soak.csv (every five seconds: memory, descriptors, threads, disk, wake-ups so far). What the load is:
# benches/figures/soak.rs. With the name of a load (connections, commands, pairings, plugs, brokers) only that one comes,
# and faster. Needs mosquitto.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
cargo build --release --bin bondkeeper
export BONDKEEPER_BENCH_TARGET=$CARGO_TARGET_DIR
exec cargo bench --profile dev --bench figures -- soak "${1:-60}" "${2:-$CARGO_TARGET_DIR/soak.csv}" ${3:+"$3"}
