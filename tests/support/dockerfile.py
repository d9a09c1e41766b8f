"""Read a Dockerfile: its stages, and what each says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next; instructions in order, continued lines joined."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """The arguments of each instruction of this kind."""
        return [rest for found, rest in self.instructions if found == word]


def stages(path: Path) -> list[Stage]:
    """Each stage of it; what stands before the first one is the arguments of bases."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    text = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    found: list[Stage] = []
    defaults: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            for key, value in defaults.items():
                base = base.replace(f"${{{key}}}", value)
            found.append(Stage(base, name))
        elif found:
            found[-1].instructions.append((word, rest.strip()))
        else:
            assert word == "ARG"
            key, _, value = rest.partition("=")
            defaults[key] = value
    return found
