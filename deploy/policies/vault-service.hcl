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

# The policy "default" gives all that follows, too; a token without it needs it.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}

# `rotator doctor` asks what this token may do, and gives back the login that it made.
path "sys/capabilities-self" {
  capabilities = ["update"]
}

path "auth/token/revoke-self" {
  capabilities = ["update"]
}
