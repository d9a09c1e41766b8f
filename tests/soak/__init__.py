"""The long runs, by `make soak`; no part of `make test`."""
