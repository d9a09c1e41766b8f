"""``rotator demo`` and the real parts that it starts; tests start their BEAM nodes from here too.

`command` puts the demonstration together out of `openbao`, `service`, `mesh`, `agents` and
`intruder`; `rotations` watches, `stored` and `handshakes` try, `flags` says what that proves, and
`course` and `telling` make it readable.
"""
