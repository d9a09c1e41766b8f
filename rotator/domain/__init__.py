"""What a rotation is and when it may go on: values and pure functions.

No I/O, no async, no clock, no randomness, no logging here; `now` is an argument.
"""
