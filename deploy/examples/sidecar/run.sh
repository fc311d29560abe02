#!/bin/sh
set -eu
cd "$(dirname "$0")"
pids=
trap 'trap - EXIT; kill $pids 2>/dev/null || :; wait' EXIT
trap 'exit 0' INT TERM

mkdir -p /tmp/sluice-sidecar
rm -f /tmp/sluice-sidecar/blue.sock /tmp/sluice-sidecar/green.sock  # nginx does not take over what a crash left
nginx -e stderr -p /tmp/sluice-sidecar -c "$PWD/nginx.conf" &
pids="$pids $!"
sluice run -c sluice.toml &
pids="$pids $!"
wait $!
