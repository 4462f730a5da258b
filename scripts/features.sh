#!/usr/bin/env bash
# Checks that each library passes clippy with none of its features and with each one on its own: a feature that only works
# together with another breaks the build of a user who asks for it alone. A warning is a failure. Run it from anywhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

libraries=(agentwrit-verify agentwrit-tower agentwrit-client)

# The names in `[features]` but `default`, which is a list of the others.
features_of() {
    awk '/^\[/ { inside = ($0 == "[features]") } inside && /^[a-z0-9_-]+ *=/ { print $1 }' "$1/Cargo.toml" | grep -vx default || true
}

check() {
    printf '%s: %s\n' "$1" "${2:-no features}"
    local said status=0
    said="$(cargo clippy --quiet --package "$1" --lib --no-default-features ${2:+--features "$2"} 2>&1)" || status=$?
    # Warnings count too; not through RUSTFLAGS, which would build every dependency anew.
    if [ "$status" -ne 0 ] || [ -n "$said" ]; then
        printf '%s\n' "$said" >&2
        exit 1
    fi
}

for library in "${libraries[@]}"; do
    check "$library"
    for feature in $(features_of "$library"); do
        check "$library" "$feature"
    done
done
echo "every feature builds on its own"

# Cargo unites features: any crate of a program can turn this one on, under which dalek alone accepts several texts of one
# signature.
rejected="$(cargo test --quiet --package agentwrit-verify --lib --features ed25519-dalek/legacy_compatibility -- \
    scalars_at_and_above_the_order_are_rejected 2>&1)" || { printf '%s\n' "$rejected" >&2 && exit 1; }
[[ "$rejected" == *"1 passed"* ]] || { printf '%s\n' "$rejected" >&2 && exit 1; }
echo "other texts of a signature are rejected with legacy_compatibility of ed25519-dalek"
