#!/bin/sh
# A development server of OpenBao, with what the service needs: its policy, and a role to log in with.
set -eu

bao server -dev -dev-listen-address="${OPENBAO_LISTEN:-127.0.0.1:8200}" &
server=$!
trap 'kill "$server"' TERM INT
export BAO_ADDR="http://${OPENBAO_LISTEN:-127.0.0.1:8200}"

until bao token lookup >/dev/null 2>&1; do
  kill -0 "$server"
  sleep 1
done
bao policy write rotator "${POLICIES:-/policies}/vault-service.hcl"
bao auth enable approle
bao write auth/approle/role/rotator token_policies=rotator token_ttl=1h token_max_ttl=24h
bao write auth/approle/role/rotator/role-id role_id=rotator
bao write auth/approle/role/rotator/custom-secret-id secret_id=@"${SECRETS:-/run/secrets}/secret-id" >/dev/null
touch "${READY:-/tmp/openbao-is-set-up}"
wait "$server"
