#!/bin/sh
set -eu
cd "$(dirname "$0")"
pids=
trap 'trap - EXIT; kill $pids 2>/dev/null || :; wait' EXIT
trap 'exit 0' INT TERM

mkdir -p /tmp/sluice-vm/state
python3 -m http.server --bind 127.0.0.1 --directory blue 9001 >/dev/null 2>&1 &
pids="$pids $!"
python3 -m http.server --bind 127.0.0.1 --directory green 9002 >/dev/null 2>&1 &
pids="$pids $!"
sluice run -c sluice.toml &
pids="$pids $!"
wait $!
