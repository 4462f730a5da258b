# What scripts/stack_up.sh and scripts/stack_down.sh share; not run by itself.
# shellcheck shell=bash
# shellcheck disable=SC2034 # the variables are for scripts that source this file

state="${AGENTWRIT_STATE_DIR:-$PWD/deploy/state}"
secret_file="$state/broker.env"
certs="$state/certs"
tls="$state/tls"
pid_file="$state/broker.pid"

usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }
die() { printf '%s: %s\n' "${0##*/}" "$1" >&2 && exit 1; }
wrong() { printf '%s: %s\n\n' "${0##*/}" "$1" >&2 && usage >&2 && exit 2; }

[[ "$state" = /* ]] || die "AGENTWRIT_STATE_DIR is an absolute path, not \`$state\`"
[[ "$state" != *[[:space:]]* ]] || die "the path of the state must not contain white space: $state"

# Sets `compose` to the words of a compose command that works here.
find_compose() {
    compose=()
    if [ -n "${AGENTWRIT_COMPOSE:-}" ]; then
        read -ra compose <<<"$AGENTWRIT_COMPOSE"
    elif docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
        compose=(docker compose)
    elif podman compose version >/dev/null 2>&1; then
        compose=(podman compose)
    elif command -v podman-compose >/dev/null && podman info >/dev/null 2>&1; then
        compose=(podman-compose)
    else
        die "neither \`docker compose\` (with a running daemon), \`podman compose\` nor podman-compose works here:
  install one of them, or run the broker without containers: scripts/stack_up.sh --local"
    fi
}

# Sets the compose file and the project: with several brokers both are others, so that neither stack touches the other's data.
set_stack() {
    project=agentwrit compose_file=deploy/compose.yaml
    ! $1 || project=agentwrit-several compose_file=deploy/compose.postgres.yaml
}

broker_binary() {
    local candidate
    for candidate in ${AGENTWRIT_BROKER_BIN:+"$AGENTWRIT_BROKER_BIN"} target/release/agentwrit-broker \
        target/debug/agentwrit-broker "$(command -v agentwrit-broker || true)"; do
        if [ -n "$candidate" ] && [ -x "$candidate" ]; then
            (cd "$(dirname "$candidate")" && printf '%s/%s\n' "$PWD" "${candidate##*/}")
            return
        fi
    done
    die "no broker to run: cargo build --release --bin agentwrit-broker"
}

# The process that `stack_up.sh --local` started, if it still runs. A number that another program has by now is not it.
local_pid() {
    local pid
    pid="$(cat "$pid_file" 2>/dev/null)" || return 1
    [[ "$(ps -p "$pid" -o args= 2>/dev/null)" == *agentwrit-broker* ]] || return 1
    printf '%s\n' "$pid"
}
