#!/bin/sh
set -eu
cd "$(dirname "$0")"
pids=
trap 'trap - EXIT; kill $pids 2>/dev/null || :; wait' EXIT
trap 'exit 0' INT TERM

mkdir -p /tmp/sluice-ci
nginx -e stderr -p /tmp/sluice-ci -c "$PWD/nginx.conf" &
pids="$pids $!"
sluice run -c sluice.toml &
pids="$pids $!"
wait $!
