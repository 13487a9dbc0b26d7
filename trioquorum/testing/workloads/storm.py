"""Changes of the membership: peers join, leave, swap roles and move while everything else goes on."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final, Literal, Protocol

import msgspec
import trio

from trioquorum.client import Client
from trioquorum.errors import Code
from trioquorum.invariants import invariant
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads.base import Workload, unless
from trioquorum.testing.workloads.scene import Scene
from trioquorum.tree.acl import digest_id
from trioquorum.wire.ops import Op
from trioquorum.wire.txn import SetDataTxn, Txn
from trioquorum.zab.quorum import QuorumConfig
from trioquorum.zab.reconfig import ANY_VERSION, parse_config

CLIENTS: Final = 2
PACES_S: Final = (0.2, 1.0, 3.0)
"""Mean times between two changes of an operator: not those of other clients."""

PASSWORD: Final = b"super:storm"
VOTERS_MIN: Final = 2
SETTINGS: Final[Mapping[str, bool | int | float | str]] = MappingProxyType(
    {"reconfig_enabled": True, "super_digest": digest_id(PASSWORD), "voters_min": VOTERS_MIN}
)
"""What peers must be configured with: those of ``config.Settings``."""

NO_VERSION: Final = 1
"""No configuration has it: versions are zxids, or 0."""

MOVED: Final = {"quorum": (7001, 7002), "election": (7101, 7102)}
"""Ports a peer may move to."""

WEIGHTS: Final = (5, 2, 2, 3, 2, 3, 2, 3, 2)
"""How often each kind of change is tried."""

Role = Literal["participant", "observer"]


class Change(msgspec.Struct, frozen=True):
    """What ``Client.reconfig`` takes; ``version`` is the one that must be in force."""

    joining: Sequence[str] = ()
    leaving: Sequence[int] = ()
    members: Sequence[str] | None = None
    version: int = ANY_VERSION


class StormScene(Scene, Protocol):
    """A scene whose ensemble can be changed.

    ``everybody`` are the ids of all peers that exist, members or not, and ``begun`` those that were ever started.
    Once it is ``calm`` nothing is struck any more, and every peer that was ever started runs or is being started.
    """

    everybody: tuple[int, ...]

    @property
    def begun(self) -> tuple[int, ...]:
        """Peers with a history."""

    @property
    def calm(self) -> bool:
        """Whether all faults are over."""

    def leader(self) -> int | None:
        """Who leads, as far as anybody knows."""

    def line(self, peer: int, role: Role | None = None, ports: Mapping[str, int] = MappingProxyType({})) -> str:
        """The server line of ``peer``, in the role it was made for unless one is given."""

    async def start(self, peer: int) -> None:
        """Start a peer; no effect if it runs."""

    async def stop(self, peer: int) -> None:
        """Stop a peer in order; no effect if it does not run."""


class Storm(Workload):
    """It knows what was answered: each change that succeeded is in the history, none that had to fail.

    When all is calm it brings back a membership of everybody that was ever started; its end is that it succeeded.
    """

    name = "storm"
    paths: ClassVar[tuple[str, ...]] = ()

    def __init__(self, scene: StormScene) -> None:
        super().__init__(scene)
        self.members = scene
        self.made: dict[int, str] = {}
        self.wrong: list[str] = []
        self._restored = False
        self._pace_s = scene.rng.choice(PACES_S)

    @property
    def over(self) -> bool:
        """Whether everybody is a member again; the end of the run alone leaves work to do."""
        return self._restored or self.scene.history.full

    async def run(self) -> None:
        """Two operators that do not know of each other."""
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(self.work, f"storm-{number}", self._step)

    async def pause(self, times: float = 1.0) -> None:
        """Wait as operators do."""
        await trio.sleep(self.rng.expovariate(1 / (self._pace_s * times)))

    async def prepare(self, client: Client) -> None:
        """Be somebody who may."""
        await client.add_auth("digest", PASSWORD)

    async def _step(self, client: Client) -> None:
        await trio.lowlevel.checkpoint()
        if self.members.calm:
            await self._restore(client)
        else:
            text, _ = await client.get_config()
            await self._change(client, parse_config(text))

    async def _reconfigure(self, client: Client, change: Change) -> None:
        text, stat = await client.reconfig(
            change.joining, change.leaving, new_members=change.members, from_config=change.version
        )
        self.made[stat.mzxid] = text

    # Changes

    async def _change(self, client: Client, config: QuorumConfig) -> None:
        """One of everything that operators do; what the ensemble finds wrong it refuses."""
        await trio.lowlevel.checkpoint()
        kind = self.rng.choices(
            ("join", "leave", "depose", "swap", "move", "exchange", "all", "wrong", "stop"), WEIGHTS
        )[0]
        inside, outside = (
            sorted(config.members),
            [peer for peer in self.members.everybody if peer not in config.members],
        )
        if kind == "stop":
            await self._stop(outside)
        elif kind == "wrong":
            await self._wrong(client, inside)
        elif kind == "join" and outside:
            await self._add(client, self.rng.choice(outside))
        elif kind == "leave":
            await self._reconfigure(client, Change(leaving=[self.rng.choice(inside)]))
        elif kind == "depose":
            leader = self.members.leader()
            if leader is not None and len(config.voters) > VOTERS_MIN:
                await self._reconfigure(client, Change(leaving=[leader]))
        elif kind == "swap":
            peer = self.rng.choice(inside)
            role: Role = "observer" if peer in config.voters else "participant"
            await self._reconfigure(client, Change(joining=[self.members.line(peer, role)]))
        elif kind == "move":
            ports = {port: self.rng.choice(MOVED[port]) for port in MOVED if self.rng.random() < 0.6}
            peer = self.rng.choice(inside)
            await self._reconfigure(client, Change(joining=[self.members.line(peer, config.members[peer].role, ports)]))
        elif kind == "exchange" and outside:
            await self._add(client, self.rng.choice(outside), self.rng.choice(inside))
        else:
            await self._reconfigure(client, Change(members=await self._any_members()))

    async def _add(self, client: Client, joiner: int, *leaving: int) -> None:
        await self.members.start(joiner)
        role: Role = "participant" if self.rng.random() < 0.7 else "observer"
        if self.rng.random() < 0.5:
            await self.pause()
        await self._reconfigure(client, Change(joining=[self.members.line(joiner, role)], leaving=leaving))

    async def _any_members(self) -> list[str]:
        """Lines of a few voters, and of some observers beside them."""
        await trio.lowlevel.checkpoint()
        peers = list(self.members.everybody)
        self.rng.shuffle(peers)
        voters = self.rng.randint(min(VOTERS_MIN, len(peers)), len(peers))
        listed = peers[: self.rng.randint(voters, len(peers))]
        for peer in listed:
            await self.members.start(peer)
        return [self.members.line(it, "participant" if at < voters else "observer") for at, it in enumerate(listed)]

    async def _stop(self, outside: list[int]) -> None:
        """A peer that is no member as far as we know is not needed; somebody else may want it in this moment."""
        await trio.lowlevel.checkpoint()
        running = [peer for peer in outside if peer in self.members.begun]
        if running:
            await self.members.stop(self.rng.choice(running))

    async def _wrong(self, client: Client, inside: list[int]) -> None:
        """Something that must not succeed, whatever the membership is now."""
        peer = self.rng.choice(inside)
        change = self.rng.choice(
            (
                Change(leaving=[peer], version=NO_VERSION),
                Change(members=[self.members.line(peer, "participant")]),
                Change(members=[self.members.line(other, "observer") for other in inside]),
                Change(joining=[f"server.{peer}=nowhere"]),
                Change(joining=[self.members.line(peer).partition(";")[0]]),
            )
        )
        await self._reconfigure(client, change)
        self.wrong.append(str(change))

    async def _restore(self, client: Client) -> None:
        """All at once if that may be, else one by one: who observes is no part of a quorum that is needed at once."""
        begun = self.members.begun
        for peer in begun:
            await self.members.start(peer)
        await client.sync()
        text, _ = await client.get_config()
        wanted = parse_config("\n".join(self.members.line(peer) for peer in begun)).members
        there = parse_config(text).members
        differ = [peer for peer in sorted(wanted | there) if wanted.get(peer) != there.get(peer)]
        if not differ:
            self._restored = True
        elif await unless(
            self._reconfigure(client, Change(members=[self.members.line(peer) for peer in begun])),
            Code.NEWCONFIGNOQUORUM,
        ):
            await self.pause()
        else:
            peer = self.rng.choice(differ)
            observes = peer in there and there[peer].role == "observer"
            leaves = peer not in wanted or (observes and self.rng.random() < 0.5)
            change = Change(leaving=[peer]) if leaves else Change(joining=[self.members.line(peer)])
            await self._reconfigure(client, change)

    def check(self, truth: Truth) -> None:
        """Whatever was answered is in the history."""
        invariant(not self.wrong, "what is wrong is refused", made=self.wrong)
        done = {txn.header.zxid: txn.record for txn in _reconfigurations(truth)}
        for zxid, text in self.made.items():
            record = done.get(zxid)
            there = record.data if isinstance(record, SetDataTxn) else None
            invariant(there == text.encode(), "a change that was answered is made", zxid=zxid, told=text, made=there)


def _reconfigurations(truth: Truth) -> Iterator[Txn]:
    return (txn for _, txn in truth.txns if txn.header.type == Op.RECONFIG)
