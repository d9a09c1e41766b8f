"""What every state store must do: a new backend subclasses the suites and gives the fixtures.

``state`` is an empty store; ``other`` is the same one as another process has it open; ``meddle``
runs one SQL statement in it, going around the program.
"""
