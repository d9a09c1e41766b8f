#!/bin/sh
# Random secrets for deploy/compose.yaml, in ./secrets; those that are there already stay. Other users of this machine cannot enter
# the directory; containers see the files alone, each as its own user.
set -eu

mkdir -p -m 0700 secrets
for name in database-password secret-id; do
  [ -e "secrets/$name" ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"secrets/$name"
  chmod 0444 "secrets/$name"
done
