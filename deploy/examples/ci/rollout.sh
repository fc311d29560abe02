#!/bin/sh
# rollout.sh SERVICE SECONDS: the step of a CI job that gives green the traffic.
# SLUICE_SOCKET says where sluice is.
#
#   0  green has all of it
#   1  refused; or tripped, aborted or not done in time, and then blue has all of it
#   2  sluice could not be asked, or was asked something that it does not know
set -u
service=$1
seconds=$2

sluice ctl rollout start "$service" || exit

sluice ctl wait "$seconds" rollout-done "$service"
code=$?
if [ "$code" = 1 ]; then
  # One that only took too long is still under way. After a trip there is nothing to abort.
  sluice ctl rollout abort "$service" || :
  sluice ctl rollout report "$service"
fi
exit "$code"
