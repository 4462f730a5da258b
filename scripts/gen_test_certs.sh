#!/usr/bin/env bash
# Makes certificates to try TLS and mutual TLS with: an authority, a server's and a client's. For tests and drills; in
# production they come from your own authority.
#
#   scripts/gen_test_certs.sh [options] [NAME…]
#
#   NAME…           further DNS names or IP addresses of the server; localhost, 127.0.0.1 and ::1 are always in it
#   --out DIR       where they are written, default ./certs
#   --client NAME   common name of the client's certificate, default agentwrit-client
#   --days N        how long they are valid, 1 to 90, default 30
#   --renew         new server and client certificates from the authority that is there (name the server again)
#   --force         replace everything that is there, the authority too
#
# Writes ca.crt ca.key server.crt server.key client.crt client.key: EC P-256, keys 0600. Needs openssl 1.1.1 or later.
set -euo pipefail
umask 077

usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
die() { printf 'gen_test_certs: %s\n' "$1" >&2 && exit 1; }
wrong() { printf 'gen_test_certs: %s\n\n' "$1" >&2 && usage >&2 && exit 2; }

out=certs client=agentwrit-client days=30 renew=false force=false names=()
while [ $# -gt 0 ]; do
    case "$1" in
    --out | --client | --days)
        [[ $# -gt 1 && -n "$2" ]] || wrong "$1 needs a value"
        case "$1" in --out) out="$2" ;; --client) client="$2" ;; --days) days="$2" ;; esac
        shift
        ;;
    --renew) renew=true ;;
    --force) force=true ;;
    -h | --help) usage && exit 0 ;;
    -*) wrong "unknown option: $1" ;;
    *) names+=("$1") ;;
    esac
    shift
done
[[ "$days" =~ ^[1-9][0-9]?$ && "$days" -le 90 ]] || wrong "--days is a number from 1 to 90, not \`$days\`"
[[ "$client" =~ ^[A-Za-z0-9._-]{1,64}$ ]] || wrong "--client is 1 to 64 of A-Z a-z 0-9 . _ -"
! { $renew && $force; } || wrong "--renew keeps the authority, --force replaces it: choose one"
command -v openssl >/dev/null || die "openssl not found"

alternative_names() {
    local name list="DNS:localhost,IP:127.0.0.1,IP:::1"
    for name in ${names[@]+"${names[@]}"}; do
        if [[ "$name" =~ ^[0-9.]+$ || "$name" == *:* ]]; then
            [[ "$name" =~ ^[0-9A-Fa-f.:]+$ ]] || wrong "\`$name\` is neither a DNS name nor an IP address"
            list+=",IP:$name"
        else
            [[ "$name" =~ ^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$ ]] ||
                wrong "\`$name\` is neither a DNS name nor an IP address"
            list+=",DNS:$name"
        fi
    done
    printf '%s\n' "$list"
}
san="$(alternative_names)"

files=(server.key server.crt client.key client.crt)
if $renew; then
    [[ -f "$out/ca.crt" && -f "$out/ca.key" ]] || die "there is no authority in $out to renew from"
else
    files+=(ca.key ca.crt)
    for file in "${files[@]}"; do
        $force || [ ! -e "$out/$file" ] || die "$out/$file is there already: --renew or --force"
    done
fi

mkdir -p "$out"
# Made aside and moved, keys first: a broker that watches them never reads half a file.
work="$(mktemp -d "$out/.new.XXXXXX")"
trap 'rm -rf "$work"' EXIT

run() { openssl "$@" 2>"$work/said" || { cat "$work/said" >&2 && die "openssl $1 failed"; }; }

new_key() { run genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve -out "$work/$1.key"; }

# A certificate $1 for the subject $2 with the extensions $3, signed by the authority in $ca.
issue() {
    new_key "$1"
    run req -new -sha256 -key "$work/$1.key" -subj "$2" -out "$work/$1.csr"
    printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" \
        "subjectKeyIdentifier=hash" "authorityKeyIdentifier=keyid" "$3" >"$work/$1.ext"
    run x509 -req -sha256 -in "$work/$1.csr" -CA "$ca.crt" -CAkey "$ca.key" -set_serial "0x$(openssl rand -hex 16)" \
        -days "$days" -extfile "$work/$1.ext" -out "$work/$1.crt"
}

if $renew; then
    ca="$out/ca"
    openssl x509 -in "$ca.crt" -noout -checkend $((days * 86400)) >/dev/null ||
        die "the authority ends before $days days are over: --force makes a new one"
else
    ca="$work/ca"
    new_key ca
    # The authority's certificate comes from a configuration of its own, as the system's may add extensions.
    printf '%s\n' "[req]" "distinguished_name=name" "x509_extensions=authority" "prompt=no" \
        "[name]" "CN=AgentWrit test authority" \
        "[authority]" "basicConstraints=critical,CA:TRUE,pathlen:0" "keyUsage=critical,keyCertSign,cRLSign" \
        "subjectKeyIdentifier=hash" >"$work/ca.cnf"
    # Longer than what it signs, so that there is time to renew.
    run req -x509 -new -sha256 -key "$ca.key" -config "$work/ca.cnf" -set_serial "0x$(openssl rand -hex 16)" \
        -days $((days + 60)) -out "$ca.crt"
fi
issue server "/CN=localhost" "$(printf 'extendedKeyUsage=serverAuth\nsubjectAltName=%s' "$san")"
issue client "/CN=$client" "extendedKeyUsage=clientAuth"
run verify -CAfile "$ca.crt" -purpose sslserver "$work/server.crt" >/dev/null
run verify -CAfile "$ca.crt" -purpose sslclient "$work/client.crt" >/dev/null

chmod 0644 "$work"/*.crt
for file in "${files[@]}"; do mv -f "$work/$file" "$out/$file"; done
printf 'written to %s: %s\nserver: %s\nvalid until %s\n' "$out" "${files[*]}" "$san" \
    "$(openssl x509 -in "$out/server.crt" -noout -enddate | cut -d= -f2)"
