"""The outside world: one folder a port, one file a technology. Adapters do not know each other."""
