"""The program beside each BEAM node: it pulls desired state, acts, and attests with evidence.

It ships alone: command line base only, no server, no SQL, no SDK of a secrets manager. What a
node shall do is decided in `decide` and `pairs`, from values only; everything else is hands.
"""
