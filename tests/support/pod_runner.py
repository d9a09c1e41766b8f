"""Run the containers of a rendered pod as processes of this machine: no container engine, no kubelet.

Each volume is a directory of the test; what a container finds at a mount's path, its process finds there. Paths and
addresses that only a cluster has are written over in arguments, environment and files. As root, a process can write to
the volumes that its container may write to, and to nothing else, and has no capability. What this cannot show: images,
users, networks.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.charts import Document, find

_CONFINE = """
set -e
mount --make-rprivate /
for volume in $WRITABLE; do mount --bind "$volume" "$volume"; done
mount -o remount,bind,ro /
if touch "$OUTSIDE/it-can-be-written" 2>/dev/null; then echo "not confined" >&2; exit 99; fi
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"
"""
ROTATOR = (sys.executable, "-m", "rotator")


@functools.cache
def can_confine() -> bool:
    """Whether this process may make a name space of mounts."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        return False
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return tried.returncode == 0


@dataclass
class PodRunner:
    """One pod of *found*; *changes* are texts of the manifest with what they are here."""

    found: list[Document]
    spec: Document
    directory: Path
    name: str
    changes: dict[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def volume(self, name: str) -> Path:
        """The directory that a volume is; what a ConfigMap holds is in it."""
        place = self.directory / name
        if place.exists():
            return place
        place.mkdir(parents=True)
        [volume] = [one for one in self.spec.get("volumes", ()) if one["name"] == name] or [{}]
        if "configMap" in volume:
            config = find(self.found, "ConfigMap", volume["configMap"]["name"])
            for file, text in config["data"].items():
                (place / file).write_text(self._here(text, self._all_mounts()), encoding="utf-8")
        return place

    def _all_mounts(self) -> dict[str, Path]:
        """Every path at which anything is mounted in any container of ours."""
        both = [*self.spec.get("initContainers", ()), *self.spec["containers"]]
        return {
            mount["mountPath"]: self.directory / mount["name"] / mount.get("subPath", "")
            for container in both
            for mount in container.get("volumeMounts", ())
        }

    def _here(self, text: str, mounts: dict[str, Path]) -> str:
        """In one pass: what is written in is not written over."""
        texts = {path: str(place) for path, place in mounts.items()} | self.changes
        longest_first = sorted(texts, key=len, reverse=True)
        pattern = "|".join(re.escape(each) for each in longest_first)
        return re.sub(pattern, lambda match: texts[match[0]], text)

    def container(self, name: str) -> Document:
        """One of them, init or not."""
        both = [*self.spec.get("initContainers", ()), *self.spec["containers"]]
        [one] = [each for each in both if each["name"] == name]
        return one

    def start(self, name: str, **more: str) -> subprocess.Popen[bytes]:
        """Start a container's process; its output is in `NAME.log`."""
        container = self.container(name)
        for mount in container.get("volumeMounts", ()):
            self.volume(mount["name"])
        environment = self._environment(container) | more
        words = [*container.get("command", ()), *container.get("args", ())]
        arguments = [self._expanded(word, environment) for word in words]
        if "command" not in container:  # the image's entrypoint
            arguments = [*ROTATOR, *arguments]
        writable = [
            one["name"] for one in container.get("volumeMounts", ()) if not one.get("readOnly")
        ]
        if can_confine():
            arguments = ["unshare", "--mount", "sh", "-c", _CONFINE, "confined", *arguments]
            environment |= {
                "WRITABLE": " ".join(str(self.directory / each) for each in writable),
                "OUTSIDE": str(self.directory),
                "PYTHONDONTWRITEBYTECODE": "1",
            }
        if "tmp" in writable:
            environment["TMPDIR"] = str(self.directory / "tmp")
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(self.directory), **environment},
                cwd=self.directory,
            )
        self.running.append(process)
        return process

    def _environment(self, container: Document) -> dict[str, str]:
        fields = {
            "metadata.name": self.name,
            "metadata.namespace": "rotator",
            "status.podIP": "127.0.0.1",
        }
        return {
            one["name"]: self._here(one["value"], self._all_mounts())
            if "value" in one
            else fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
            for one in container.get("env", ())
        }

    def _expanded(self, word: Any, environment: dict[str, str]) -> str:
        for name, value in environment.items():
            word = word.replace(f"$({name})", value)
        return self._here(word, self._all_mounts())

    def log(self, name: str) -> str:
        """What a container has printed."""
        return (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """Kill each process by its own id."""
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()
