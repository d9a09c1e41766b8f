"""The command line: parse, ask the API, print.

Nothing of the server is imported here but inside the commands that run on the server itself
(`commands/local.py`, `demo`), so the base installation suffices and starts quickly.
"""
