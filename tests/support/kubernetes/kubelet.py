"""The kubelet of the one machine that there is: it starts and stops what pods are."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from tests.support.kubernetes.store import EVENT, POD, Item, Store, timestamp

NODE = "machine-0"


class Runtime(Protocol):
    """What a pod is. Each call may take its time."""

    async def start(self, pod: Item) -> None:
        """Init containers, then containers, until it is ready; an exception fails the pod."""
        ...

    async def ended(self, pod: Item) -> None:
        """Until its main container has ended by itself."""
        ...

    async def again(self, pod: Item) -> None:
        """Start that container again: without init containers, on the same volumes."""
        ...

    async def stop(self, pod: Item, grace: float) -> None:
        """SIGTERM, and SIGKILL after *grace* seconds; returns when nothing of it is left."""
        ...


class Nothing:
    """Pods of which there is nothing; those in `held` do not become ready."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.started: list[str] = []  #: names, in order
        self.stopped: list[str] = []

    async def start(self, pod: Item) -> None:
        """Ready at once, unless it is held."""
        name = pod["metadata"]["name"]
        self.started.append(name)
        while name in self.held:
            await asyncio.sleep(0.01)

    async def ended(self, pod: Item) -> None:
        """Never."""
        await asyncio.Event().wait()

    async def again(self, pod: Item) -> None:
        """Never needed."""

    async def stop(self, pod: Item, grace: float) -> None:
        """At once."""
        self.stopped.append(pod["metadata"]["name"])


class Kubelet:
    """A task for each pod, by uid."""

    def __init__(self, store: Store, runtime: Runtime) -> None:
        self._store = store
        self._runtime = runtime
        self._lives: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled; every pod is stopped then."""
        try:
            while True:
                waiting = asyncio.create_task(self._store.changed())
                await asyncio.sleep(0)
                for pod in self._store.list(POD):
                    uid = pod["metadata"]["uid"]
                    if uid not in self._lives:
                        self._lives[uid] = asyncio.create_task(self._life(pod))
                await waiting
        finally:
            for task in self._lives.values():
                task.cancel()
            await asyncio.gather(*self._lives.values(), return_exceptions=True)

    async def _life(self, pod: Item) -> None:
        going = asyncio.create_task(self._until_going(pod))
        running = asyncio.create_task(self._containers(pod))
        try:
            await asyncio.wait({going, running}, return_when=asyncio.FIRST_COMPLETED)
            if running.done() and not going.done():
                await going  # it has failed, and stays so until somebody deletes it
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            going.cancel()
            grace = float(self._found(pod)["metadata"].get("deletionGracePeriodSeconds", 0))
            self._say(pod, is_ready=False)
            await self._runtime.stop(pod, grace)
        if self._is_there(pod):
            meta = pod["metadata"]
            self._store.remove(POD, meta["namespace"], meta["name"])

    async def _containers(self, pod: Item) -> None:
        restarts = 0
        try:
            self._say(pod, phase="Pending", reason="PodInitializing")
            await self._runtime.start(pod)
            while True:
                self._say(pod, phase="Running", is_ready=True, restarts=restarts)
                await self._runtime.ended(pod)
                restarts += 1
                self._say(pod, phase="Running", reason="Error", restarts=restarts)
                await self._runtime.again(pod)
        except Exception as error:  # noqa: BLE001 - a pod that does not start is told about
            self._say(pod, phase="Pending", reason="CrashLoopBackOff", restarts=restarts)
            self._event(pod, "BackOff", f"{type(error).__name__}: {error}")

    async def _until_going(self, pod: Item) -> None:
        """Marked for deletion, or gone (by force)."""
        while self._is_there(pod):
            waiting = asyncio.create_task(self._store.changed())
            await asyncio.sleep(0)
            if "deletionTimestamp" in self._found(pod)["metadata"]:
                waiting.cancel()
                return
            await waiting

    def _found(self, pod: Item) -> Item:
        meta = pod["metadata"]
        found = self._store.find(POD, meta["namespace"], meta["name"])
        return found if found and found["metadata"]["uid"] == meta["uid"] else pod

    def _is_there(self, pod: Item) -> bool:
        meta = pod["metadata"]
        found = self._store.find(POD, meta["namespace"], meta["name"])
        return found is not None and found["metadata"]["uid"] == meta["uid"]

    def _say(
        self,
        pod: Item,
        *,
        phase: str | None = None,
        is_ready: bool = False,
        reason: str = "",
        restarts: int = 0,
    ) -> None:
        if not self._is_there(pod):
            return

        def change(item: Item) -> None:
            item["spec"].setdefault("nodeName", NODE)
            status = item.setdefault("status", {})
            status["phase"] = phase or status.get("phase", "Pending")
            status["startTime"] = status.get("startTime", timestamp())
            status["conditions"] = [
                {"type": kind, "status": str(is_ready), "lastTransitionTime": timestamp()}
                for kind in ("Ready", "ContainersReady")
            ]
            state: dict[str, Any] = {"running": {"startedAt": timestamp()}}
            if not is_ready:
                state = {"waiting": {"reason": reason or "Terminating"}}
            status["containerStatuses"] = [
                {
                    "name": one["name"], "image": one.get("image", ""), "imageID": "",
                    "ready": is_ready, "started": is_ready, "restartCount": restarts,
                    "state": state, "lastState": {},
                }
                for one in item["spec"]["containers"]
            ]  # fmt: skip

        self._store.change(POD, pod["metadata"]["namespace"], pod["metadata"]["name"], change)

    def _event(self, pod: Item, reason: str, message: str) -> None:
        meta = pod["metadata"]
        subject = {
            "kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"],
            "namespace": meta["namespace"],
        }  # fmt: skip
        event = {
            "metadata": {"generateName": f"{meta['name']}."}, "involvedObject": subject,
            "reason": reason, "message": message, "type": "Warning", "count": 1,
            "source": {"component": "kubelet"}, "firstTimestamp": timestamp(),
            "lastTimestamp": timestamp(),
        }  # fmt: skip
        self._store.create(EVENT, meta["namespace"], event)
