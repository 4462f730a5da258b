#!/usr/bin/env bash
# An app lets two agents in; one hands part of its rights to the other, renews, and releases its token when it is done.
# Needs bash 4.4, curl, jq and OpenSSL 3. Secrets are never on a command line, where `ps` would show them.
#
#   AGENTWRIT_BROKER_URL=… AGENTWRIT_CLIENT_ID=… AGENTWRIT_CLIENT_SECRET=… ./agent.sh
set -euo pipefail
shopt -s inherit_errexit

die() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

for name in AGENTWRIT_BROKER_URL AGENTWRIT_CLIENT_ID AGENTWRIT_CLIENT_SECRET; do
    [ -n "${!name:-}" ] || die "$name is not set"
done
for tool in curl jq openssl; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
done
umask 077
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# ANCHOR: problem
# call METHOD PATH [BEARER]: the body comes from standard input, the response goes to standard output. The broker's error
# response (RFC 9457) ends the script; its code stays in $work/problem for a caller that expects it.
call() {
    local status
    : >"$work/answer"
    status="$(curl --silent --show-error --max-time 10 --output "$work/answer" --dump-header "$work/headers" \
        --write-out '%{http_code}' --request "$1" --data-binary @- \
        --header @<(printf '%s\n' 'Content-Type: application/json' ${3:+"Authorization: Bearer $3"}) \
        "${AGENTWRIT_BROKER_URL%/}$2" 2>"$work/trouble")" || die "cannot reach the broker: $(head -n 1 "$work/trouble")"
    if [[ "$status" != 2?? ]]; then
        jq --raw-output '.error_code | values' "$work/answer" >"$work/problem" 2>/dev/null || true
        [ -s "$work/problem" ] || die "$status from $AGENTWRIT_BROKER_URL$2: not a response of the broker"
        die "$(jq --raw-output --arg wait "$(sed -n 's/^retry-after: *\([0-9]*\).*/\1/ip' "$work/headers")" \
            '"\(.status) \(.error_code): \(.detail) (request \(.request_id))"
             + if $wait != "" then "; try again in \($wait) s" else "" end
             + if .hint then "\nhint: \(.hint)" else "" end' "$work/answer")"
    fi
    cat "$work/answer"
}
# ANCHOR_END: problem

# field NAME: of the answer on standard input. No answer at all has been complained of already.
field() {
    local answer
    answer="$(cat)"
    [ -n "$answer" ] || exit 1
    jq --exit-status --raw-output ".$1 | values" <<<"$answer" 2>/dev/null || die "not a response of the broker: it has no \`$1\`"
}

# ANCHOR: app_auth
# The app's own token lasts half an hour: keep it, don't log in for every agent.
log_in() {
    jq --null-input '{client_id: env.AGENTWRIT_CLIENT_ID, client_secret: env.AGENTWRIT_CLIENT_SECRET}' |
        call POST /v1/app/auth | field access_token
}
# ANCHOR_END: app_auth

# ANCHOR: launch_token
# launch_token APP_TOKEN NAME SCOPE: lets one agent register, within 30 seconds and with no more than this scope.
launch_token() {
    jq --null-input --arg name "$2" --arg scope "$3" '{agent_name: $name, allowed_scope: [$scope], max_ttl: 300}' |
        call POST /v1/app/launch-tokens "$1" | field launch_token
}
# ANCHOR_END: launch_token

# ANCHOR: register
# register LAUNCH_TOKEN NAME SCOPE: makes a key, proves to hold it, and gives the agent as JSON.
register() {
    local nonce public signature
    openssl genpkey -algorithm ed25519 -out "$work/key.pem"
    nonce="$(call GET /v1/challenge </dev/null | field nonce)"
    # What is signed is the nonce's 32 bytes, not their hexadecimal text.
    printf '%b' "$(printf '%s' "$nonce" | sed 's/../\\x&/g')" >"$work/nonce"
    signature="$(openssl pkeyutl -sign -rawin -inkey "$work/key.pem" -in "$work/nonce" | base64 | tr -d '\n')"
    # The raw key is the end of its DER form.
    public="$(openssl pkey -in "$work/key.pem" -pubout -outform DER | tail -c 32 | base64)"
    LAUNCH="$1" jq --null-input --arg nonce "$nonce" --arg public "$public" --arg signature "$signature" \
        --arg name "$2" --arg scope "$3" '{launch_token: env.LAUNCH, nonce: $nonce, public_key: $public,
            signature: $signature, orch_id: "demo", task_id: $name, requested_scope: [$scope]}' |
        call POST /v1/register
}
# ANCHOR_END: register

# ANCHOR: delegate
# delegate TOKEN TO SCOPE SECONDS
delegate() {
    jq --null-input --arg to "$2" --arg scope "$3" --argjson ttl "$4" '{delegate_to: $to, scope: [$scope], ttl: $ttl}' |
        call POST /v1/delegate "$1"
}
# ANCHOR_END: delegate

# ANCHOR: renew
# renew TOKEN: another one of the same scope and lifetime. The old one is rejected from then on.
renew() { call POST /v1/token/renew "$1" </dev/null; }
# ANCHOR_END: renew

# ANCHOR: release
# release TOKEN: ends it before its time.
release() { call POST /v1/token/release "$1" </dev/null; }
# ANCHOR_END: release

# ANCHOR: validate
# use WHO TOKEN: what a service does that gets the token with a request. A token with `cnf` is bound to a key: without a proof,
# which is not checked here, it must be rejected (RFC 9449 §7.2).
use() {
    TOKEN="$2" jq --null-input '{token: env.TOKEN}' | call POST /v1/token/validate |
        jq --raw-output --arg who "$1" '"\($who): " +
            if .valid and (.claims | has("cnf") | not) then "may \(.claims.scope | join(" "))" else "refused" end'
}
# ANCHOR_END: validate

# admit NAME SCOPE
admit() {
    local launch
    launch="$(launch_token "$app_token" "$1" "$2")"
    register "$launch" "$1" "$2"
}

app_token="$(log_in)"

lead="$(admit lead 'read:data:*')"
jq --raw-output '"registered: \(.agent_id), \(.expires_in) s"' <<<"$lead"
helper="$(admit helper read:data:public)"
jq --raw-output '"registered: \(.agent_id), \(.expires_in) s"' <<<"$helper"
token="$(field access_token <<<"$lead")"
use lead "$token"

delegated="$(delegate "$token" "$(field agent_id <<<"$helper")" read:data:customers 60)"
jq --raw-output '"delegated: \(.expires_in) s, chain of \(.delegation_chain | length)"' <<<"$delegated"
use helper "$(field access_token <<<"$delegated")"

renewed="$(renew "$token")"
jq --raw-output '"renewed: \(.expires_in) s"' <<<"$renewed"
use 'the old token' "$token"

token="$(field access_token <<<"$renewed")"
release "$token"
release "$(field access_token <<<"$helper")"
echo released
use 'the released token' "$token"
if (renew "$token") >/dev/null 2>&1; then
    die "a released token must not renew"
fi
printf 'too late to renew: 401 %s\n' "$(<"$work/problem")"
