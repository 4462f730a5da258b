#!/usr/bin/env bash
# Packages every published crate as `cargo publish` would, and compiles the crates from the unpacked packages alone: a file
# that is included from outside of a package, a missing readme or licence, or a dependency without a version fails here.
#
#   scripts/package.sh [--locked]
#
# None of the crates needs to be on crates.io: they are patched into each other.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

crates=(agentwrit-json agentwrit-verify agentwrit-protocol agentwrit-tower agentwrit-client agentwrit-broker awrit)
target="${CARGO_TARGET_DIR:-target}"
mkdir -p "$target"
target="$(cd "$target" && pwd)"
unpacked="$target/unpacked"

cargo package --quiet --no-verify --allow-dirty "$@" --target-dir "$target" "${crates[@]/#/-p}"

rm -rf "$unpacked"
mkdir -p "$unpacked"
version="$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)"
for crate in "${crates[@]}"; do
    package="$crate-$version"
    # With the present time: cargo compiles again what is newer, and files in a package are dated 2006.
    tar -xzmf "$target/package/$package.crate" -C "$unpacked"
    for file in README.md LICENSE-APACHE LICENSE-MIT; do
        [ -s "$unpacked/$package/$file" ] || { echo "package: $crate: $file is missing" >&2 && exit 1; }
    done
    # A package brings its own lock file, which a member of a workspace does not use.
    rm -f "$unpacked/$package/Cargo.lock"
done

{
    printf '[workspace]\nresolver = "3"\nmembers = ["*"]\n\n[patch.crates-io]\n'
    for crate in "${crates[@]}"; do
        printf '%s = { path = "%s-%s" }\n' "$crate" "$crate" "$version"
    done
    # The profiles of the workspace, so that its compiled dependencies are used again.
    sed -n '/^\[profile\.dev/,/^$/p' Cargo.toml
} >"$unpacked/Cargo.toml"
cp Cargo.lock "$unpacked/"

cargo check --quiet --manifest-path "$unpacked/Cargo.toml" --target-dir "$target" --all-features
for crate in "${crates[@]}"; do
    printf '%s: %d files, %d KiB, compiles from its package\n' "$crate" \
        "$(tar -tzf "$target/package/$crate-$version.crate" | wc -l)" \
        "$(($(stat -c %s "$target/package/$crate-$version.crate") / 1024))"
done
