"""How often something may happen: a token bucket, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """A token bucket: *left* of *burst* at an instant of the monotonic clock."""

    left: float
    at: float

    def refilled(self, now: float, *, rate: float, burst: float) -> Allowance:
        """As it is *now*."""
        return Allowance(min(burst, self.left + max(now - self.at, 0.0) * rate), now)

    def minus(self, amount: float) -> Allowance:
        """With so much taken out; it does not fall below nothing."""
        return Allowance(max(self.left - amount, 0.0), self.at)
