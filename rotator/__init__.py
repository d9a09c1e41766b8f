"""Rotates the cookies of Erlang clusters so that nothing breaks and nothing leaks.

The promise: a cookie is derived from a master secret, is held by a secrets manager and by nothing
else, and is replaced step by step. Until every member has attested the new one, and for a grace
window after that, the previous cookie stays readable and can be rolled back to; then it is gone.
Wherever the process dies, the next start finishes the same rotation: same version, same cookie.
"""

from __future__ import annotations

__version__ = "0.1.0"
