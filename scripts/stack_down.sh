#!/usr/bin/env bash
# Stops what scripts/stack_up.sh started, with or without containers, and keeps the data, the secret and the certificates.
#
#   scripts/stack_down.sh [options]
#
#   --postgres      what `stack_up.sh --postgres` started
#   --volumes       delete the data as well: every app, the audit trail and the signing key. Asks first
#   --yes           don't ask
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/stack_common.sh
. scripts/stack_common.sh

volumes=false yes=false postgres=false
while [ $# -gt 0 ]; do
    case "$1" in
    --volumes) volumes=true ;;
    --yes) yes=true ;;
    --postgres) postgres=true ;;
    -h | --help) usage && exit 0 ;;
    *) wrong "unknown argument: $1" ;;
    esac
    shift
done

confirm() {
    ! $yes || return 0
    [ -t 0 ] || die "--volumes deletes the audit trail and the signing key: say --yes"
    local answer
    read -rp "Delete every app, the audit trail and the signing key? Type yes: " answer
    [ "$answer" = yes ] || die "nothing was done"
}

# It has 10 seconds for what is in flight.
stop_local() {
    local pid
    if pid="$(local_pid)"; then
        kill -TERM "$pid"
        for _ in {1..150}; do
            local_pid >/dev/null || break
            sleep 0.1
        done
        ! local_pid >/dev/null || die "process $pid does not end; look at $state/broker.log"
        echo "stopped process $pid"
    fi
    rm -f "$pid_file"
    ! $volumes || rm -rf "$state/data"
}

stop_containers() {
    find_compose
    set_stack "$postgres"
    AGENTWRIT_STATE_DIR="$state" "${compose[@]}" -p "$project" -f "$compose_file" down ${options[@]+"${options[@]}"}
}

options=()
if $volumes; then
    confirm
    options=(--volumes)
fi
if ! $postgres && [ -e "$pid_file" ]; then stop_local; else stop_containers; fi
if $volumes; then echo "the data is gone; the secret and the certificates are still in $state"; else
    echo "the data is kept; scripts/stack_up.sh starts it again"
fi
