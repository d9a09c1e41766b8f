"""Shipped for tests: small builders of domain values, and fakes of the ports."""
