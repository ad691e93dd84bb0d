#!/usr/bin/env bash
# Makes each target's first corpus, and a dictionary of the words in it: from the fixtures of its format, from captured
# frames, and from what the program writes. BONDKEEPER names the program, if it is built already.
set -euo pipefail
cd "$(dirname "$0")"
fixtures=../tests/fixtures
bondkeeper=${BONDKEEPER:-}
if [ -z "$bondkeeper" ]; then
    cargo build -q --manifest-path ../Cargo.toml
    bondkeeper=${CARGO_TARGET_DIR:-../target}/debug/bondkeeper
fi

# Whom the files of the sealed store are sealed for in the target: the public half of its key pair.
store_recipient=age1pek5nt459hpp07n5sycp883ssdzyxpqsvcn8ltqtrgvuaa0x0ansvf977u

# Takes a file into a target's corpus, under a name of its content.
take() { cp "$2" "corpus/$1/$(sha256sum "$2" | cut -c1-16)"; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for target in fuzz_targets/*.rs; do
    target=$(basename "$target" .rs)
    mkdir -p "corpus/$target" dictionaries
    formats=$fixtures/formats/${target//_/-}
    [ -d "$formats" ] || continue
    find "$formats" -type f ! -name expected.json ! -name README.md -print0 |
        while IFS= read -r -d '' file; do take "$target" "$file"; done
done

# The project's own document is also what a snapshot is.
for case in habluetooth/list_basic aioble/openmv_cortexm_three_peers bluez/tree_newest fuchsia/dual_mode windows/hivex_export bumble/keys_all_kinds; do
    input=$fixtures/formats/$case
    files=("$input"/*)
    for file in "$input" "${files[@]}"; do
        # Some name their adapter and some do not.
        for adapter in "" "--adapter AA:BB:CC:00:00:01"; do
            rm -f "$scratch/document"
            # shellcheck disable=SC2086
            "$bondkeeper" convert --from "${case%%/*}" $adapter --to bondkeeper --allow-loss --salvage \
                "$file" "$scratch/document" 2>/dev/null || continue
            take bondkeeper "$scratch/document"
            take store_snapshot "$scratch/document"
            rm -f "$scratch/document.age"
            "$bondkeeper" convert --from bondkeeper --to bondkeeper --allow-loss --salvage --seal-to "$store_recipient" \
                "$scratch/document" "$scratch/document.age"
            take store_sealed "$scratch/document"
            take store_sealed "$scratch/document.age"
        done
    done
done

python3 - "$fixtures/kernel/mgmt-frames.jsonl" <<'PYTHON'
import hashlib, json, struct, sys

def take(target, octets):
    with open(f"corpus/{target}/{hashlib.sha256(octets).hexdigest()[:16]}", "wb") as out:
        out.write(octets)

for line in open(sys.argv[1]):
    frame = bytes.fromhex(json.loads(line)["hex"])
    take("mgmt_control", frame)
    take("mgmt_monitor", frame)
    # The monitor channel says 2 octets of kind and 2 of controller in front of the same payload: an open, a command, an event.
    index, length = frame[2:4], len(frame) - 6
    for kind in (0x0E, 0x0F, 0x10, 0x11):
        body = struct.pack("<I", 1) + frame[:2] + frame[6:]
        take("mgmt_monitor", struct.pack("<H", kind) + index + struct.pack("<H", len(body)) + body)
    # An HCI event and a command of the controller itself.
    for kind in (2, 3):
        take("mgmt_monitor", struct.pack("<H", kind) + index + struct.pack("<H", length) + frame[6:])

for hci in ("05040040000508000140000013", "08040001400001", "3e1301000040000001000011223344c50018000000480001"):
    octets = bytes.fromhex(hci)
    take("mgmt_monitor", struct.pack("<HHH", 3, 0, len(octets)) + octets)

adapter, peer = "AA:BB:CC:00:00:01", "C0:FF:EE:00:00:01"
requests = {
    "health_check": {}, "bonds/list": {"adapter": adapter, "offset": 0, "limit": 10},
    "bonds/export": {"peers": [peer], "format": "bondkeeper", "allow_loss": True, "to": "inline"},
    "bonds/restore": {"from": {"inline": {"a": [1, 2.5, None]}}, "mode": "replace", "dry_run": True, "salvage": True,
                      "allow_adapter_mismatch": True, "plan_id": "0" * 32, "adapter": adapter, "format": "aioble"},
    "bonds/forget": {"adapter": adapter, "peer": peer, "unpair": False}, "bonds/adopt": {"adapter": adapter, "peers": [peer]},
    "bonds/undo": {"adapter": adapter}, "bonds/reload": {"adapter": adapter}, "adapter/mode": {"adapter": adapter, "mode": "observe"},
    "adapter/forget": {"adapter": adapter}, "checkpoint/create": {"adapter": adapter}, "checkpoint/list": {}, "restart": {},
    "options": {"log_level": "debug"},
}
for verb, body in requests.items():
    take("mqtt_request", f"{verb}\n{json.dumps({**body, 'transaction': 7})}".encode())

take("config", json.dumps({
    "mqtt": {"url": "mqtt://broker:1883", "username": "a", "password": "b"}, "base_topic": "bondkeeper", "node": "attic",
    "mode": "auto", "adapters": [{"address": adapter, "mode": "own"}], "commands": "all", "log_level": "info",
    "discovery": True, "clear_exports": False, "learn": True, "dbus": True, "export_passphrase": "words",
    "automatic_copies": {"enabled": True, "keep": 10, "max_age_days": 30},
}).encode())

# A record is a head, fields (tag, length, octets) and a check that the target mends.
for kind in range(1, 6):
    fields = b"".join(bytes([tag]) + struct.pack("<H", size) + bytes(range(size))
                      for tag in range(1, 32) for size in (1, 8, 16))
    for body in (b"", fields):
        for target in ("store_record", "store_sealed"):
            take(target, bytes([1, kind]) + struct.pack("<Q", 1) + bytes.fromhex("010000ccbbaa") + body)
# One that is marked as sealed, and is not.
take("store_sealed", b"bks\x01" + bytes(24) + bytes(range(100)))
PYTHON

for corpus in corpus/*; do
    # Names of fields, groups and keys; a key's own digits would only teach the engine one key.
    find "$corpus" -type f -exec cat {} + | tr -d '\0' | grep -aoE '[A-Za-z_][A-Za-z_.-]{2,31}' | sort -u |
        grep -avE '^[0-9a-fA-F]{8,}$' | sed 's/.*/"&"/' >"dictionaries/$(basename "$corpus").dict" || true
    # The engine refuses a dictionary without words.
    [ -s "dictionaries/$(basename "$corpus").dict" ] || rm -f "dictionaries/$(basename "$corpus").dict"
done
