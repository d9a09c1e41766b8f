"""``rotator demo`` and the real parts that it starts; tests start their BEAM nodes from here too.

`command` puts the demonstration together out of `openbao`, `service` and `rotations`, and
`telling` prints it.
"""
