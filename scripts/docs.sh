#!/usr/bin/env bash
# Builds the book of docs/ into target/book and checks it: that what is generated is current, that every file and anchor that
# a page links to is there. The code in the pages is run by tests/python/test_docs.py and by doctests.
#
#   scripts/docs.sh            build and check
#   scripts/docs.sh --write    write what is generated first
#
# mdBook is installed into target/tools the first time, which takes some minutes. It says what it does while it does it.
# Run it from anywhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=0.5.4
target="${CARGO_TARGET_DIR:-target}"
tools="$target/tools"
check=(--check)
case "${1:-}" in
--write) check=() ;;
"") ;;
*) sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
esac

step() { printf 'docs: %s\n' "$1"; }

if [ "$("$tools/bin/mdbook" --version 2>/dev/null)" != "mdbook v$version" ]; then
    step "installing mdBook $version into $tools, once: a minute or two"
    # Unoptimised: it renders forty pages, and compiles in a third of the time.
    cargo install mdbook --debug --locked --no-default-features --features search --version "$version" --root "$tools" --force
fi

step "the excerpts of example programs"
python3 scripts/docs_code.py "${check[@]}"
step "docs/reference/api.md, from docs/openapi.json"
python3 scripts/api_reference.py "${check[@]}"
# Compiles awrit, unless the tests have done so: cargo says which crates.
step "docs/reference/awrit.md, from the command line of awrit"
cargo run --all-features --example awrit-reference -- "${check[@]}"

step "building the book into target/book"
rm -rf target/book
built="$("$tools/bin/mdbook" build docs 2>&1)" || { printf '%s\n' "$built" >&2 && exit 1; }
# It goes on where it finds something odd, and only says so.
if grep -E 'WARN|ERROR' <<<"$built" >&2; then exit 1; fi
step "checking the links of the built book"
python3 scripts/docs_check.py target/book
