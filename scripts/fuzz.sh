#!/usr/bin/env bash
# Fuzzes what reads strangers' input, each target for a while: fuzz/README.md says which and what must hold.
#
#   scripts/fuzz.sh [seconds [target…]]     60 seconds and every target, unless said otherwise
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds="${1:-60}"
[ $# -eq 0 ] || shift
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || { echo "scripts/fuzz.sh [seconds [target…]]" >&2 && exit 2; }

command -v cargo-fuzz >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz

# libFuzzer's instrumentation is an unstable flag of the stable compiler.
export RUSTC_BOOTSTRAP=1
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target"
    log="$(mktemp)"
    if ! cargo fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        echo "fuzz $target: FAILED" >&2
        exit 1
    fi
    runs="$(sed -n 's/^stat::number_of_executed_units: //p' "$log")"
    echo "fuzz $target: $runs runs in $seconds s, nothing found"
    rm -f "$log"
done
