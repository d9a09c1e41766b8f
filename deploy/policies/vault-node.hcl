# A node of the cluster "orders" that reads its cookies from the secrets manager itself.
# Write your mount, prefix and cluster. One policy a cluster: no node reads another's cookies.

path "secret/data/erlang-cookies/clusters/orders" {
  capabilities      = ["read"]
  denied_parameters = { "version" = [] }
}
