#!/bin/sh
# Restart one node after the other, as the service hands them out. Needs curl; no jq.
# ROTATOR_ADDR, ROTATOR_TOKEN_FILE (role orchestrator), CLUSTER, RESTART: a program that is given
# a node's name, and restart (or, with stop_the_world, stop or start): it restarts the node, with
# `rotator agent boot` before it where there is an agent, and returns when it has started.
set -eu
rollout="$ROTATOR_ADDR/v1/clusters/$CLUSTER/rollout"

call() {  # method, address, body; the token is read from a file, never an argument
  printf 'header = "Authorization: Bearer %s"\n' "$(cat "$ROTATOR_TOKEN_FILE")" |
    curl --silent --show-error --max-time 90 --config - --request "$1" ${3:+--data "$3"} "$2"
}
field() { sed -n 's/.*"'"$1"'": "\{0,1\}\([^",}]*\).*/\1/p'; }  # the last one of this name

while :; do
  claim=$(call POST "$rollout/claims" '{"max": 1, "holder": "orchestrate.sh"}') || { sleep 5; continue; }
  id=$(echo "$claim" | field id)
  if [ -z "$id" ]; then  # nothing may restart: wait until something is different
    revision=$(call GET "$rollout" | field revision) || { sleep 5; continue; }
    call GET "$rollout?revision=${revision:-0}&wait=60s" >/dev/null || sleep 5
    continue
  fi
  node=$(echo "$claim" | field node) token=$(echo "$claim" | field token)
  step=$(echo "$claim" | field step)
  say() { call PUT "$rollout/claims/$id" "{\"state\": \"$1\", \"token\": $token}" | field state; }
  case $node in -*|*@-*) say failed >/dev/null; continue ;; esac  # programs take it for an option
  if [ "$(say restarting)" != restarting ]; then  # it is over, or not now: do not touch the node
    say released >/dev/null; sleep 5; continue
  fi
  if "$RESTART" "$node" "$step"; then
    while [ "$(say done)" = restarting ]; do sleep 2; done  # back, healthy and soaked: done
  else
    say failed >/dev/null  # the rollout tries again, and stops when that happens too often
  fi
done
