"""Traps: bugs that ZooKeeper had and a rewrite would repeat, one story each on the real machines and disks.

A script says ``use WHAT`` and then speaks that interpreter's commands: one of the pure machines, a database on a disk
in memory, a tree, or a whole ensemble in virtual time, on a schedule that is always the same.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from tests.election.test_scripts import Stage as ElectionStage
from tests.scripts.ensemble_stage import EnsembleStage
from tests.scripts.runner import Command, run_script_async, scripts
from tests.scripts.tree_stage import TreeStage
from tests.zab.test_handshake import Stage as HandshakeStage
from tests.zab.test_leader import Stage as LeaderStage
from tests.zab.test_learner import Stage as LearnerStage
from tests.zab.test_sync_plan import stage as sync_stage
from trioquorum.testing.seeded import run

ELSEWHERE: dict[int, str] = {
    3: "half-done reconfigurations: scripts/reconfig/pending, reconfig/test_crashes",
    10: "the config node after SNAP: reconfig/test_joining",
    20: "our peers speak one version of msgpack frames; a frame may get more fields: wire/test_election, test_quorum",
    29: "texts are UTF-8 by msgpack; SASL has tests of its own",
    30: "two peers and an oracle: scripts/election/oracle, sim/test_oracle",
    31: "names are resolved at every dial: transports/test_tcp",
    35: "a designated leader that is somebody else: scripts/reconfig/designated",
}
"""Traps without a script here, and where they are looked after."""


class Stages:
    """Whatever a script uses; the last ``use`` is spoken to."""

    def __init__(self, stack: AsyncExitStack, nursery: trio.Nursery) -> None:
        tree = TreeStage()
        self._stages: dict[str, Callable[[Command], str | Awaitable[str]]] = {
            "election": ElectionStage(),
            "handshake": HandshakeStage().run,
            "leader": LeaderStage().run,
            "learner": LearnerStage().run,
            "sync": sync_stage(),
            "tree": tree.run,
            "ensemble": EnsembleStage(stack, nursery).run,
        }
        self._now = self._stages["ensemble"]

    async def run(self, command: Command) -> str:
        if command.name == "use":
            self._now = self._stages[command.words[0]]
            return ""
        said = self._now(command)
        return said if isinstance(said, str) else await said


@pytest.mark.parametrize("path", scripts("traps"), ids=lambda path: path.stem)
def test_script(path: Path, rewrite: bool) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            await run_script_async(path, Stages(stack, nursery).run, rewrite=rewrite)

    run(0, main)


def test_every_trap_has_a_story() -> None:
    told = {int(path.name.partition("-")[0]) for path in scripts("traps")}
    assert told | ELSEWHERE.keys() == set(range(1, 36))
    assert told.isdisjoint(ELSEWHERE)
