#!/usr/bin/env bash
# Checks the dependencies against deny.toml: their licences and where they come from, tests included, and that nothing that is
# shipped has one crate in two versions without a reason. Needs cargo-deny (CARGO_DENY, else in the path). Run it from anywhere.
#
#   scripts/dependencies.sh [--locked]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

deny="${CARGO_DENY:-cargo-deny}"
command -v "$deny" >/dev/null || { echo "cargo-deny not found: cargo install --locked cargo-deny, or set CARGO_DENY" >&2 && exit 1; }

"$deny" "$@" --log-level error check licenses sources
"$deny" "$@" --log-level error --exclude-dev check bans
