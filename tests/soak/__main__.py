"""``make soak``: the promises of tests/acceptance/test_mesh_*.py at full size, and their figures."""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rotator.cli.demo.intruder import intruder
from tests.support.chaos import Chaos
from tests.support.fleet import Fleet, fleet, sha256
from tests.support.fleet_agents import processor_seconds
from tests.support.service import wait_for
from tests.support.watch import Watch, watching

AWAY = 150.0  #: seconds; a member that is silent for 60 is lost


@contextmanager
def a_fleet(count: int, **policy: object) -> Iterator[Fleet]:
    """In a temporary directory."""
    with (
        tempfile.TemporaryDirectory(prefix="rotator-soak-") as place,
        fleet(Path(place), count, **policy) as made,
    ):
        yield made


def say(name: str, value: object) -> None:
    """One figure."""
    print(f"{name:<58} {value}", flush=True)


def seconds(values: list[float]) -> str:
    """Median and most."""
    return f"median {statistics.median(values):.2f} s, most {max(values):.2f} s" if values else "-"


def say_watch(watch: Watch) -> None:
    """How the pairs were."""
    say("pairs looked at, of these out of step", f"{watch.pairs}, {watch.out_of_step}")
    say("longest that a pair of running nodes was out of step", f"{watch.longest:.2f} s")
    say("… in so many looks in a row", watch.most_looks)
    say("longest that a pair of a restarted node was", f"{watch.restarted:.2f} s")


def processors(made: Fleet) -> dict[str, float]:
    """Seconds of processor time so far."""
    assert made.service.process is not None
    return {
        "agents": sum(agent.processor_seconds() for agent in made.agents.values()),
        "service": processor_seconds(made.service.process.pid),
        "nodes": sum(processor_seconds(node.pid) for node in made.up if node.pid),
    }


def in_a_row(count: int, rotations: int) -> None:
    """Rotation after rotation."""
    with a_fleet(count) as made, watching(made.mesh.nodes) as watch:
        retired: list[str] = []
        took: list[float] = []
        before = processors(made)
        for _ in range(rotations):
            retired.append(made.current())
            began = time.monotonic()
            made.until(made.rotate(), "completed")
            took.append(time.monotonic() - began)
            made.settle()
            made.assert_uses(made.current(), retired=retired[-2:])
            made.assert_undisturbed()
        after = processors(made)
        say(f"rotations in a row, {count} nodes", rotations)
        say("from POST to completed", seconds(took))
        say(
            "calls, failed; links lost",
            f"{made.mesh.calls()}, {made.mesh.failed()}; {made.mesh.lost()}",
        )
        for who in after:
            say(
                f"processor time of a rotation: {who}",
                f"{(after[who] - before[who]) / rotations:.2f} s",
            )
        say_watch(watch)


def chaos(count: int, rotations: int, seed: int) -> None:
    """The same, while everything dies and comes back."""
    say("seed", seed)
    with a_fleet(count) as made, watching(made.mesh.nodes) as watch:
        run = Chaos(fleet=made, watch=watch, seed=seed)
        for number in range(rotations):
            run.rotation(
                strikes=run.random.randrange(1, 7),
                roll_back=number % 5 == 4,
                joins=number % 2,
                agent_away=AWAY if number % 10 == 2 else 0.0,
                service_away=10.0 if number % 10 == 7 else 0.0,
            )
        say(f"rotations with deaths, {count} nodes and more", rotations)
        say("strikes", dict(run.strikes))
        say("new nodes, by the phase in which they asked", dict(run.joined))
        say("a killed node, from up to linked to everyone", seconds(run.returns))
        say_watch(watch)


def emergencies(count: int, times: int) -> None:
    """An intruder each time."""
    out: list[float] = []
    took: list[float] = []
    rounds: list[int] = []
    with a_fleet(count, lock_timeout="5m") as made:
        for number in range(times):
            name = f"intruder{number}@127.0.0.1"
            with intruder(made.erlang, made.names, cookie=made.current(), name=name) as him:
                began, asked = time.monotonic(), time.time()
                done = made.until(made.rotate("emergency"), "completed")
                took.append(time.monotonic() - began)
                rounds.append(done["lock_round"])
                out.append(max(him.intrusion().seen.values()) / 1000 - asked)
                wait_for("he has tried again", lambda: not him.intrusion().links)
                assert sha256(made.current()) not in him.intrusion().cookies
            made.settle()
            made.assert_undisturbed()
    say(f"emergencies against an intruder, {count} nodes", times)
    say("out of every node after", seconds(out))
    say("completed after", seconds(took))
    say("rounds of locking", rounds)


def main() -> None:
    """Run everything."""
    given = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    given.add_argument("--nodes", type=int, default=20)
    given.add_argument("--rotations", type=int, default=20)
    given.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given.add_argument("--only", choices=["small", "row", "chaos", "emergencies"])
    asked = given.parse_args()
    runs = {
        "small": lambda: in_a_row(3, asked.rotations),
        "row": lambda: in_a_row(asked.nodes, asked.rotations),
        "chaos": lambda: chaos(asked.nodes, asked.rotations, asked.seed),
        "emergencies": lambda: emergencies(asked.nodes, max(1, asked.rotations // 4)),
    }
    for name, run in runs.items():
        if asked.only in {None, name}:
            run()


if __name__ == "__main__":
    main()
