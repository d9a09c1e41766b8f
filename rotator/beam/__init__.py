"""The Erlang distribution protocol, as a client: a hidden node that the peer gives its name.

It knows nothing of rotations. Sources are OTP's chapters "Distribution Protocol" and "External
Term Format"; docs/decisions/0017 says why it is our own and what it does not do.
"""
