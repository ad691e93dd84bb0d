#!/usr/bin/env bash
# benches/guest.sh CACHE [OUT]
#
# The figures that need a real kernel: metrics 6 and 12, and 1 and 3 beside the real bluetoothd on a disk of its own. They are taken
# with the release binary in the guest of tests/kernel/build-guest.sh (CACHE) and put into target/bench/results.json beside the
# others. Needs what tests/run.sh kernel needs, and BONDKEEPER_TEST_PYTHON.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2s/^# /usage: /p' "$0" >&2; exit 2; }
cd "$(dirname "$0")/.."
cache=$1
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
out=${2:-$CARGO_TARGET_DIR/bench/guest}
mkdir -p "$out" "$CARGO_TARGET_DIR/bench"
rm -f "$out/figures.json"

binary=${BONDKEEPER_BENCH_BINARY:-$CARGO_TARGET_DIR/release/bondkeeper}
[ -n "${BONDKEEPER_BENCH_BINARY:-}" ] || cargo build --release --bin bondkeeper
probe=$CARGO_TARGET_DIR/bench/libsync_times.so
rustc --edition 2024 -O --crate-type cdylib -o "$probe" benches/probe/sync_times.rs
disk=$out/disk.img
rm -f "$disk"
truncate -s 256M "$disk"
PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q "$disk"
suite=$(cargo test --no-run --message-format=json --test kernel 2>/dev/null |
  python3 -c 'import json,sys
for line in sys.stdin:
    row = json.loads(line)
    if row.get("executable") and row["target"]["name"] == "kernel": print(row["executable"])')

tests/kernel/run-guest.sh -c "$cache" -o "$out" -t 1500 -d "$disk" \
  env BONDKEEPER_TEST_PYTHON="${BONDKEEPER_TEST_PYTHON:-python3}" BONDKEEPER_BENCH_BINARY="$binary" BONDKEEPER_BENCH_ROUNDS=9 \
    BONDKEEPER_BENCH_PROBE="$probe" BONDKEEPER_BENCH_DISK=1 \
  "$suite" --test-threads=1 --color never --nocapture plug_in:: beside_bluetoothd:: advertisements_wake_nobody

# Beside what else was taken; an earlier run's row of the same name gives way.
python3 - "$out/figures.json" "$CARGO_TARGET_DIR/bench/results.json" <<'EOF'
import json, os, sys
new = json.load(open(sys.argv[1]))
old = json.load(open(sys.argv[2])) if os.path.exists(sys.argv[2]) else []
names = {row["name"] for row in new}
rows = [row for row in old if row["name"] not in names] + new
json.dump(sorted(rows, key=lambda row: row["metric"]), open(sys.argv[2], "w"), indent=2, ensure_ascii=False)
EOF
