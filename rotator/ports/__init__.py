"""What the services need of the outside world, as Protocols; the docstrings are the contract."""
