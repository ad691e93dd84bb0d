#!/usr/bin/env bash
# Makes each target's first corpus from the fixtures of its format, and a dictionary of the words in them.
set -euo pipefail
cd "$(dirname "$0")"

for target in fuzz_targets/*.rs; do
    target=$(basename "$target" .rs)
    fixtures=../tests/fixtures/formats/${target//_/-}
    mkdir -p "corpus/$target" dictionaries
    dictionary=dictionaries/$target.dict
    : >"$dictionary"
    [ -d "$fixtures" ] || continue
    find "$fixtures" -type f ! -name expected.json ! -name README.md -print0 |
        while IFS= read -r -d '' file; do
            cp "$file" "corpus/$target/$(sha256sum "$file" | cut -c1-16)"
        done
    # Names of fields, groups and keys; a key's own digits would only teach the engine one key.
    find "corpus/$target" -type f -exec cat {} + | tr -d '\0' | grep -aoE '[A-Za-z_][A-Za-z_.-]{2,31}' | sort -u |
        grep -avE '^[0-9a-fA-F]{8,}$' | sed 's/.*/"&"/' >"$dictionary" || true
done
