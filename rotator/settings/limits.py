"""Limits: what one caller may ask for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rotator.settings.values import Count, Section


class Limits(Section):
    """What one caller may ask for; a change applies at once, on SIGHUP."""

    requests_per_second: Annotated[Count, Field(ge=1, le=100_000)] = 100
    #: Of one token, on average. A token for a pattern of nodes may have fifty times as many.
    burst: Annotated[Count, Field(ge=1, le=1_000_000)] = 400
    #: How many of them may come at once.
    long_polls: Annotated[Count, Field(ge=1, le=1000)] = 8
    #: Waiting at once: for each token and node; and streams of facts, for each token.
    connections_per_address: Annotated[Count, Field(ge=0, le=100_000)] | None = None
    #: At once; 0: no limit. Default: 256 where this process does TLS, else 0: behind a proxy
    #: everybody has its address.
