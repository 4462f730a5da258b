#!/usr/bin/env bash
# Checks that all that is published compiles with the oldest Rust that Cargo.toml names (`rust-version`). Not part of
# scripts/test.sh, which uses one toolchain, and there clippy's `incompatible_msrv` finds newer functions of the standard
# library: run it before a release, and after an update of dependencies. Installs the toolchain if it is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version="$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)"
rustup run "$version" rustc --version 2>/dev/null || rustup toolchain install "$version" --profile minimal
crates=(agentwrit-json agentwrit-verify agentwrit-protocol agentwrit-tower agentwrit-client agentwrit-broker awrit)
cargo "+$version" check --locked --all-features --target-dir "${CARGO_TARGET_DIR:-target}/msrv" "${crates[@]/#/-p}"
echo "compiles with Rust $version"
