# The service. Write your mount for "secret" and your prefix for "erlang-cookies".
# It can neither delete, destroy nor list: with max_versions=1 a write removes what it replaces.

path "secret/data/erlang-cookies/clusters/*" {
  capabilities = ["create", "read", "update"]
}

path "secret/metadata/erlang-cookies/clusters/*" {
  capabilities = ["create", "read", "update"]
}

# Written once: without "update" nobody with this token can write over an epoch.
path "secret/data/erlang-cookies/masters/*" {
  capabilities = ["create", "read"]
}

# The policy "default" gives these too; a token without it needs them.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}
