"""Programs that restart nodes by claims: what may restart, and when, the service alone decides.

Any number of them may run: a claim is a lock with a fencing token, handed out once. None of them
knows a cookie. Nothing here may need the server's parts, or those of the command line.
"""
