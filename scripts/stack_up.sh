#!/usr/bin/env bash
# Starts a broker and waits until it is healthy: with Docker Compose or Podman Compose (deploy/compose.yaml), or without
# containers. What is missing is made: an admin secret, certificates to try TLS with. scripts/stack_down.sh stops it.
#
#   scripts/stack_up.sh [options]
#
#   --tls           HTTPS
#   --mtls          HTTPS, and clients show a certificate
#   --postgres      two brokers on one PostgreSQL, behind HAProxy (deploy/compose.postgres.yaml), without TLS
#   --build         build the image anew
#   --local         no containers: the binary in AGENTWRIT_BROKER_BIN, target/release, target/debug or the PATH
#   --port N        port on this machine, default 8080
#   --timeout N     seconds to wait until it is healthy, default 60 (building the image does not count)
#
# The secret, the certificates and, with --local, the data are in deploy/state, or AGENTWRIT_STATE_DIR (an absolute path).
# AGENTWRIT_COMPOSE names the compose command, if the one that is found is not the one you want.
set -euo pipefail
umask 077
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/stack_common.sh
. scripts/stack_common.sh

mode=none build=() local=false postgres=false port="${AGENTWRIT_PORT:-8080}" timeout=60
while [ $# -gt 0 ]; do
    case "$1" in
    --tls | --mtls)
        [ "$mode" = none ] || wrong "--tls or --mtls, not both"
        mode="${1#--}"
        ;;
    --build) build=(--build) ;;
    --local) local=true ;;
    --postgres) postgres=true ;;
    --port | --timeout)
        [[ "${2:-}" =~ ^[1-9][0-9]{0,4}$ ]] || wrong "$1 needs a number"
        case "$1" in --port) port="$2" ;; --timeout) timeout="$2" ;; esac
        shift
        ;;
    -h | --help) usage && exit 0 ;;
    *) wrong "unknown argument: $1" ;;
    esac
    shift
done
[ "$port" -le 65535 ] || wrong "--port is at most 65535"
! $postgres || { ! $local && [ "$mode" = none ]; } || wrong "--postgres goes with neither --local, --tls nor --mtls"
command -v curl >/dev/null || die "curl not found: it is what waits until the broker is healthy"
command -v openssl >/dev/null || die "openssl not found: it makes the admin secret and the certificates"
scheme=http
[ "$mode" = none ] || scheme=https
url="$scheme://localhost:$port"

prepare_secret() {
    mkdir -p "$state"
    chmod 0700 "$state"
    [ ! -e "$secret_file" ] || return 0
    printf 'AA_ADMIN_SECRET=%s\n' "$(openssl rand -hex 32)" >"$secret_file"
    echo "made an admin secret: $secret_file (0600)"
}

# PostgreSQL reads the first file, `schema` the second, and the brokers the third.
prepare_database() {
    local superuser owner broker
    $postgres && [ ! -e "$state/database.env" ] || return 0
    superuser="$(openssl rand -hex 32)" owner="$(openssl rand -hex 32)" broker="$(openssl rand -hex 32)"
    printf '%s\n' "POSTGRES_PASSWORD=$superuser" "AGENTWRIT_OWNER_PASSWORD=$owner" "AGENTWRIT_BROKER_PASSWORD=$broker" \
        >"$state/postgres.env"
    database_url agentwrit_owner "$owner" >"$state/owner.env"
    database_url agentwrit_broker "$broker" >"$state/database.env"
    echo "made the passwords of the database: $state/postgres.env, $state/owner.env, $state/database.env (0600)"
}

database_url() { printf 'AA_DATABASE_URL=postgres://%s:%s@172.30.78.20/agentwrit?sslmode=disable\n' "$1" "$2"; }

# The broker gets a directory with no more than it needs: neither the authority's key nor the client's. In a container it
# runs under another user, so the files there are readable; on this machine $state (0700) keeps everybody else out.
prepare_certificates() {
    [ "$mode" != none ] || return 0
    [ -e "$certs/ca.crt" ] || [ ! -e "$tls/server.crt" ] ||
        die "$tls holds certificates that this script did not make: start the stack by hand, see deploy/README.md"
    [ -e "$certs/ca.crt" ] || scripts/gen_test_certs.sh --out "$certs"
    openssl x509 -in "$certs/server.crt" -noout -checkend 0 >/dev/null ||
        die "the certificates have expired: scripts/gen_test_certs.sh --out $certs --force"
    mkdir -p "$tls"
    chmod 0755 "$tls"
    install -m 0644 "$certs/server.key" "$certs/server.crt" "$tls/"
    install -m 0644 "$certs/ca.crt" "$tls/client-ca.crt"
}

start_local() {
    local binary settings
    binary="$(broker_binary)"
    ! local_pid >/dev/null || die "a broker started with --local runs already: scripts/stack_down.sh stops it"
    ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || die "something listens on port $port already: choose another with --port"
    mkdir -p "$state/data"
    settings=(AA_CONFIG_PATH="$secret_file" AA_BIND_ADDRESS=127.0.0.1 AA_PORT="$port"
        AA_DB_PATH="$state/data/data.db" AA_SIGNING_KEY_PATH="$state/data/signing.key")
    [ "$mode" = none ] || settings+=(AA_TLS_MODE="$mode" AA_TLS_CERT="$tls/server.crt" AA_TLS_KEY="$tls/server.key")
    [ "$mode" != mtls ] || settings+=(AA_TLS_CLIENT_CA="$tls/client-ca.crt")
    env "${settings[@]}" nohup "$binary" </dev/null >>"$state/broker.log" 2>&1 &
    broker=$!
    printf '%s\n' "$broker" >"$pid_file"
}

start_containers() {
    set_stack "$postgres"
    local files=(-f "$compose_file")
    [ "$mode" = none ] || files+=(-f "deploy/compose.$mode.yaml")
    find_compose
    AGENTWRIT_STATE_DIR="$state" AGENTWRIT_PORT="$port" \
        "${compose[@]}" -p "$project" "${files[@]}" up -d ${build[@]+"${build[@]}"}
}

# What curl needs to reach it, as words.
curl_options() {
    [ "$mode" = none ] || printf -- '--cacert %s ' "$certs/ca.crt"
    [ "$mode" != mtls ] || printf -- '--cert %s --key %s ' "$certs/client.crt" "$certs/client.key"
}

wait_until_healthy() {
    local deadline=$((SECONDS + timeout)) answer
    read -ra options <<<"$(curl_options)"
    while [ "$SECONDS" -lt "$deadline" ]; do
        answer="$(curl -sS --max-time 2 ${options[@]+"${options[@]}"} "$url/v1/health" 2>&1)" || true
        [[ "$answer" != *'"status":"ok"'* ]] || return 0
        if $local && ! kill -0 "$broker" 2>/dev/null; then
            rm -f "$pid_file"
            tail -n 5 "$state/broker.log" >&2
            die "the broker ended, see above and $state/broker.log"
        fi
        sleep 0.3
    done
    printf 'the last answer: %s\n' "$answer" >&2
    if $local; then tail -n 10 "$state/broker.log" >&2; else
        "${compose[@]}" -p "$project" -f "$compose_file" logs 2>&1 | tail -n 20 >&2 || true
    fi
    die "not healthy after $timeout seconds; scripts/stack_down.sh stops it"
}

export AGENTWRIT_STATE_DIR="$state"
prepare_secret
prepare_database
prepare_certificates
if $local; then start_local; else start_containers; fi
wait_until_healthy

cat <<END
the broker is healthy: $url

  curl -s $(curl_options)$url/v1/health
  . $secret_file                                      # the admin secret, as AA_ADMIN_SECRET
  curl -s $(curl_options)$url/v1/admin/auth -d "{\"secret\":\"\$AA_ADMIN_SECRET\"}"

README.md goes on from there. scripts/stack_down.sh stops it and keeps the data.
END
