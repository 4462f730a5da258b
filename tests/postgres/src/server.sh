# Makes a PostgreSQL server in a directory of its own, prints the directory, then reads commands, one a line, and prints
# `done` or `failed` after each. Ends the server and deletes the directory with the end of its input.
#
#   server.sh initialise | copy DIRECTORY PORT      a new server, or a standby of the one whose socket is in DIRECTORY
set -u
PATH="$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1):$PATH"
directory=$(mktemp -d "${TMPDIR:-/tmp}/agentwrit-postgres-XXXXXX") || exit 1
data="$directory/data"
trap 'pg_ctl -D "$data" stop -m immediate -w >/dev/null 2>&1; rm -rf "$directory"' EXIT
trap 'exit 1' INT TERM HUP

case $1 in
initialise) initdb -D "$data" --no-sync -A trust -U agentwrit -E UTF8 --locale=C ;;
copy) pg_basebackup -D "$data" -h "$2" -p "$3" -U agentwrit -R -X stream --checkpoint=fast --no-sync ;;
esac >"$directory/log" 2>&1 || {
    cat "$directory/log" >&2
    exit 1
}
echo "$directory"

run() {
    case $1 in
    start) shift && pg_ctl -D "$data" -l "$directory/log" -w -t 60 -o "-k $directory $*" start ;;
    stop) pg_ctl -D "$data" -w -t 60 -m "$2" stop ;;
    promote) pg_ctl -D "$data" -w -t 60 promote ;;
    *) return 1 ;;
    esac
}

while read -r line; do
    # shellcheck disable=SC2086  # words of a command
    if run $line >>"$directory/control" 2>&1 </dev/null; then echo 'done'; else echo failed; fi
done
