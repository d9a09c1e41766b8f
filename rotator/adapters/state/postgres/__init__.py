"""PostgreSQL as the state store: connections, transactions, the lease, wake-ups of replicas."""
