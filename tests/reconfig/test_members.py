"""What a peer knows of its ensemble stays one thing, on disk, in memory and for everybody who was told."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.reconfig.kit import SETTINGS
from trioquorum.events import Event, Events, MembershipChanged, MembershipProposed
from trioquorum.peer.members import Members
from trioquorum.storage.membership import Membership
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing import open_ensemble
from trioquorum.zab.quorum import QuorumConfig
from trioquorum_transports.memory import MemoryNetwork


class Audience:
    """Election links, election and client ports at once: what the election votes by is kept."""

    def __init__(self) -> None:
        self.votes_by: list[int] = []
        self.on_newer_config: object = None

    def set_configs(self, committed: QuorumConfig, last_seen: QuorumConfig) -> None:
        self.votes_by = [committed.version, last_seen.version]

    def ignore(self, *_: object) -> None:
        pass

    set_members = set_my_address = set_addresses = ignore


@pytest.mark.parametrize("cancelled_s", [0.5, 1.5])
@pytest.mark.parametrize("step", ["propose", "take", "activate"])
async def test_a_role_that_ends_meanwhile_leaves_nobody_untold(
    step: str, cancelled_s: float, autojump_clock: MockClock
) -> None:
    """Else elections would go on by a configuration that is not in force any more."""
    async with open_ensemble(MemoryNetwork(), peers=3, settings=SETTINGS, start=False) as ensemble:
        config = ensemble.peers[1].config
    written = config.quorum_config()
    seen: list[Event] = []
    members = Members(config, await Membership.load(MemoryDisk(flush_latency_s=1.0), written), Events(seen.append))
    audience: Any = Audience()
    members.attach(audience, audience, audience)
    new = QuorumConfig([written.members[1], written.members[2]], 1 << 32)
    if step == "activate":
        await members.propose(new)
        seen.clear()
    with trio.move_on_after(cancelled_s):
        if step == "activate":
            await members.activate(new, 1, None)
        else:
            await getattr(members, step)(new)
    assert members.last_seen.version == new.version
    assert audience.votes_by == [new.version if step == "activate" else 0, new.version]
    assert [type(event) for event in seen] == [MembershipChanged if step == "activate" else MembershipProposed]
