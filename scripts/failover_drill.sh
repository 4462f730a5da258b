#!/usr/bin/env bash
# Rehearses a failover on this machine: a PostgreSQL primary with a streaming standby, two brokers, and HAProxy with the
# configuration of deploy/. The primary is stopped as a power cut would stop it, the standby promoted, and what was
# acknowledged before is looked for. Everything is in a directory of its own, which is deleted at the end.
#
#   scripts/failover_drill.sh            the standby is synchronous: nothing acknowledged is lost
#   scripts/failover_drill.sh --async    it is asynchronous and lags: the brokers detect the loss and revoke everything
#
# Needs PostgreSQL's programs and haproxy (Debian: postgresql, haproxy), and agentwrit-broker, awrit, curl and jq in the PATH.
set -euo pipefail
config="$(cd "$(dirname "${BASH_SOURCE[0]}")/../deploy/haproxy" && pwd)/haproxy.cfg"
PATH="$PATH:/usr/sbin:$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)"

usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
die() { printf 'failover_drill: %s\n' "$1" >&2 && exit 1; }

lossy=false
case "${1:-}" in
"") ;;
--async) lossy=true ;;
-h | --help) usage && exit 0 ;;
*) usage >&2 && exit 2 ;;
esac
for tool in initdb pg_ctl pg_basebackup psql haproxy agentwrit-broker awrit curl jq; do
    command -v "$tool" >/dev/null || die "$tool not found"
done

# PostgreSQL does not run as root.
as_postgres=()
[ "$(id -u)" -ne 0 ] || as_postgres=(runuser -u postgres -- env "PATH=$PATH")
work="$(mktemp -d)"
store="$(cd / && ${as_postgres[@]+"${as_postgres[@]}"} mktemp -d)"
pids=()

end() {
    [ "${#pids[@]}" -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
    wait
    postgres pg_ctl -D "$store/primary" stop -m immediate >/dev/null 2>&1 || true
    postgres pg_ctl -D "$store/standby" stop -m immediate >/dev/null 2>&1 || true
    postgres rm -rf "$store"
    rm -rf "$work"
}
trap end EXIT

# --- PostgreSQL ------------------------------------------------------------------------------------------------------

postgres() { (cd / && ${as_postgres[@]+"${as_postgres[@]}"} "$@"); }

free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)); do
        (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
    done
}

start_server() {
    postgres pg_ctl -D "$store/$1" -w -l "$store/$1.log" \
        -o "-p $2 -k $store -c listen_addresses=127.0.0.1" start >/dev/null || die "PostgreSQL does not start: $store/$1.log"
}

sql() { psql -h 127.0.0.1 -p "$1" -U agentwrit -d agentwrit -XAtqc "$2"; }

make_primary() {
    postgres initdb -D "$store/primary" -A trust -U agentwrit -E UTF8 --locale=C >/dev/null
    start_server primary "$primary"
    psql -h 127.0.0.1 -p "$primary" -U agentwrit -d postgres -qc 'CREATE DATABASE agentwrit'
}

make_standby() {
    postgres pg_basebackup -D "$store/standby" -R -X stream --checkpoint=fast \
        -d "host=127.0.0.1 port=$primary user=agentwrit application_name=standby"
    start_server standby "$standby"
    $lossy || sql "$primary" "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (standby)'"
    $lossy || sql "$primary" 'SELECT pg_reload_conf()' >/dev/null
    local deadline=$((SECONDS + 30))
    until [ -n "$(sql "$primary" "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = '$1'")" ]; do
        [ "$SECONDS" -lt "$deadline" ] || die "the standby does not follow: $(postgres tail -n 3 "$store/standby.log")"
        sleep 0.1
    done
    echo "the standby follows ($1)"
}

# --- brokers ---------------------------------------------------------------------------------------------------------

start_broker() {
    mkdir "$work/$1"
    env -C "$work/$1" AA_CONFIG_PATH="$work/config" AA_PORT="$2" AA_TRUSTED_PROXIES=127.0.0.1/32 \
        AA_KEY_ENCRYPTION_KEY_PATH="$work/key-encryption.key" AA_STATE_PATH="$work/$1/broker.state" \
        AA_DATABASE_URL="postgres://agentwrit@127.0.0.1:$primary,127.0.0.1:$standby/agentwrit?target_session_attrs=read-write" \
        agentwrit-broker >"$work/$1/log" 2>&1 &
    pids+=($!)
}

# Waits until a request through the balancer succeeds.
until_healthy() {
    local deadline=$((SECONDS + 60))
    until awrit health >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || { tail -n 5 "$work"/*/log >&2 && die "no broker is healthy after a minute"; }
        sleep 0.1
    done
}

register() { awrit agent register --orch-id drill --task-id "$1" --scopes read:data:7 --json | jq -r .access_token; }

validity() {
    curl -sS "$AACTL_BROKER_URL/v1/token/validate" -d "{\"token\":\"$1\"}" | jq -r 'if .valid then "valid" else "not valid" end'
}

# --- the drill -------------------------------------------------------------------------------------------------------

primary="$(free_port)" standby="$(free_port)"
make_primary
if $lossy; then make_standby async; else make_standby quorum; fi

(
    umask 077
    printf 'ADMIN_SECRET=%s\n' "$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')" >"$work/config"
    head -c 32 /dev/urandom >"$work/key-encryption.key"
)
one="$(free_port)" two="$(free_port)" balancer="$(free_port)"
start_broker broker-1 "$one"
start_broker broker-2 "$two"
AGENTWRIT_BIND="127.0.0.1:$balancer" AGENTWRIT_BROKER_1="127.0.0.1:$one" AGENTWRIT_BROKER_2="127.0.0.1:$two" \
    haproxy -db -f "$config" >"$work/haproxy.log" 2>&1 &
pids+=($!)
export AACTL_BROKER_URL="http://127.0.0.1:$balancer" HOME="$work"
AACTL_ADMIN_SECRET="$(sed -n 's/^ADMIN_SECRET=//p' "$work/config")"
export AACTL_ADMIN_SECRET
until_healthy
echo "two brokers are healthy"

# Commits that the standby does not get: it is cut off first.
lag() { postgres pg_ctl -D "$store/standby" stop -m fast -w >/dev/null; }

kept="$(register kept)"
revoked="$(register revoked)"
! $lossy || lag
awrit revoke --yes --level token --target "$(awrit token inspect "$revoked" --json | jq -r .claims.jti)" >/dev/null
echo "one token is live, another was revoked: $(validity "$kept"), $(validity "$revoked")"

postgres pg_ctl -D "$store/primary" stop -m immediate -w >/dev/null
began=$SECONDS
! $lossy || start_server standby "$standby"
# A promoted standby inherits the settings of the primary: without a standby of its own it must not wait for one.
sql "$standby" "ALTER SYSTEM SET synchronous_standby_names = ''"
postgres pg_ctl -D "$store/standby" promote -w >/dev/null
echo "the primary is gone, the standby is promoted"
until_healthy
printf 'the brokers are healthy again (%d s)\n' "$((SECONDS - began))"

lost="$(awrit audit events --limit 1000 --json | jq '[.events[] | select(.event_type == "history_lost")] | length')"
echo "the live token is $(validity "$kept"), the revoked one is $(validity "$revoked"); events history_lost: $lost"
awrit audit verify >"$work/verified" || die "$(cat "$work/verified")"
sed -n 2p "$work/verified"

# Whatever was lost, no revocation is.
[ "$(validity "$revoked")" = "not valid" ] || die "an acknowledged revocation is not in force"
if $lossy; then expected="not valid 1"; else expected="valid 0"; fi
[ "$(validity "$kept") $lost" = "$expected" ] || die "expected: $expected"
