#!/usr/bin/env bash
# Fuzzes the parsers of untrusted input, each target for a while, two at a time: fuzz/README.md says what must hold.
#
#   scripts/fuzz.sh [seconds [target…]]     60 seconds and every target, unless said otherwise
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds="${1:-60}"
[ $# -eq 0 ] || shift
[[ "$seconds" =~ ^[1-9][0-9]*$ ]] || { echo "scripts/fuzz.sh [seconds [target…]]" >&2 && exit 2; }

command -v cargo-fuzz >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
command -v cargo-fuzz >/dev/null || cargo install --quiet --locked cargo-fuzz

# libFuzzer's instrumentation is an unstable flag of the stable compiler. The workspace's target directory has other flags.
export RUSTC_BOOTSTRAP=1
unset CARGO_TARGET_DIR
logs="$(mktemp -d)"
trap 'rm -rf "$logs"' EXIT

fuzz() {
    local target="$1" log="$logs/$1" runs
    mkdir -p "fuzz/corpus/$target"
    if ! cargo fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        echo "fuzz $target: FAILED" >&2
        return 1
    fi
    runs="$(sed -n 's/^stat::number_of_executed_units: //p' "$log")"
    [ "${runs:-0}" -gt 0 ] || { cat "$log" >&2 && echo "fuzz $target: nothing ran" >&2 && return 1; }
    echo "fuzz $target: $runs runs in $seconds s, nothing found"
}

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
for target in "${targets[@]}"; do
    cargo fuzz build "$target" >"$logs/build" 2>&1 || { tail -n 60 "$logs/build" >&2 && exit 1; }
done

failed=0
running=0
for target in "${targets[@]}"; do
    if [ "$running" -ge 2 ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
for ((; running > 0; running--)); do wait -n || failed=1; done
exit "$failed"
