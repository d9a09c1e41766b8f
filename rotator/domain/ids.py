"""Names for the plain values that identify things, so that they cannot be mixed up."""

from __future__ import annotations

import re
from typing import Final, NewType

ClusterName = NewType("ClusterName", str)
ClusterUid = NewType("ClusterUid", str)  #: 32 lower-case hex digits; random, made once, not secret
NodeName = NewType("NodeName", str)  #: as Erlang writes it: ``rabbit@host``
NODE_NAME: Final = re.compile(r"[A-Za-z0-9_.+~$-]{1,127}@[A-Za-z0-9_.:-]{1,127}")
RotationId = NewType("RotationId", str)
ClaimId = NewType("ClaimId", str)
MasterName = NewType("MasterName", str)
VersionNumber = NewType("VersionNumber", int)  #: 1, 2, 3 …; used once
EpochNumber = NewType("EpochNumber", int)  #: 1, 2, 3 … per master
Generation = NewType("Generation", int)  #: grows with a cluster's desired state
Fence = NewType("Fence", int)  #: fencing token of the lease; only grows
Fingerprint = NewType("Fingerprint", str)  #: ``f1:`` and 32 hex digits; safe to show
