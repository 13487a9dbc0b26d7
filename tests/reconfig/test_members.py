"""What a peer knows of its ensemble stays one thing, on disk, in memory and for everybody who was told."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.reconfig.kit import SETTINGS
from trioquorum.config import PeerSpec, ServerConfig
from trioquorum.events import Event, Events, MembershipChanged, MembershipProposed, PortBlocked
from trioquorum.limits import Limits
from trioquorum.peer.members import Members
from trioquorum.server.clients import bind_client_ports
from trioquorum.settings import Settings
from trioquorum.storage.membership import Membership
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing import open_ensemble
from trioquorum.transport import Address, Transports
from trioquorum.zab.quorum import Member, QuorumConfig
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


@pytest.mark.parametrize(
    ("client", "secure", "found"),
    [
        (None, None, ["tcp://own:1", "tls://own:2"]),
        ("tcp://listed:3", "tls://listed:4", ["tcp://own:1", "tls://own:2"]),
        ("tcp://moved:3", "tls://listed:4", ["tcp://moved:3", "tls://own:2"]),
        (None, "tls://moved:4", ["tcp://own:1", "tls://moved:4"]),
        ("tcp://moved:3", "tls://moved:4", ["tcp://moved:3", "tls://moved:4"]),
    ],
)
async def test_where_clients_are_served(client: str | None, secure: str | None, found: list[str]) -> None:
    """Where the ensemble decided, if that is not what was written for this peer; each kind of port by itself."""
    spec = PeerSpec(
        id=1,
        quorum=Address("memory", "q"),
        election=Address("memory", "e"),
        client=Address("tcp", "listed", 3),
        secure_client=Address("tls", "listed", 4),
    )
    own = (Address("tcp", "own", 1), Address("tls", "own", 2))
    folder = Path("unused")
    config = ServerConfig(my_id=1, peers=(spec,), client_addresses=own, data_dir=folder, data_log_dir=folder)
    decided = QuorumConfig([Member(1, "memory://q", "memory://e", client, secure_client=secure)], 1)
    members = Members(config, await Membership.load(MemoryDisk(), decided), Events())
    assert list(map(str, members.my_client_addresses())) == found


async def test_nobody_is_served_plainly_where_tls_is_expected() -> None:
    """A peer without a key says so, also when the ensemble gives it such an address later."""
    seen: list[Event] = []
    answerer: Any = SimpleNamespace(events=Events(seen.append), limits=Limits())
    addresses = (Address("tcp", "127.0.0.1"), Address("tls", "127.0.0.1"))
    async with bind_client_ports(addresses, Transports(), answerer, Settings()) as ports:
        ports.set_addresses(addresses)
        assert [address.scheme for address in ports.addresses] == ["tcp"]
    assert [event.reason for event in seen if isinstance(event, PortBlocked)] == ["there is no key for TLS"] * 2
