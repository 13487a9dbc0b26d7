"""Commands of scripts about whole ensembles in memory: power, partitions, disks, and what can be seen of them."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from random import Random
from typing import Any

import trio
import trio.testing

from tests.scripts.runner import Command
from tests.zab.kit import show, show_all, zx
from trioquorum.client import Client
from trioquorum.config import Settings
from trioquorum.errors import Code, DiskFailed, LinkClosed, RequestFailed
from trioquorum.events import DatabaseLoaded, Established, Event, LearnerSyncing, RoundStarted, SyncReceived
from trioquorum.limits import Limits
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing import MemoryEnsemble, open_ensemble
from trioquorum.testing.peer import Life
from trioquorum.testing.settled import on_disk
from trioquorum.wire.quorum import (
    LearnerInfo,
    PacketType,
    QuorumPacket,
    decode_packets,
    encode_ack_epoch,
    encode_packets,
)
from trioquorum_transports.memory import MemoryNetwork

MOMENTS: dict[str, type[Event]] = {kind.__name__: kind for kind in (Established, LearnerSyncing, SyncReceived)}


class ScriptDisk(MemoryDisk):
    """A disk that refuses to truncate or append logs, whichever is in ``broken``."""

    def __init__(self, files: Mapping[str, bytes] | None = None, *, flush_latency_s: float = 0.0) -> None:
        super().__init__(files, flush_latency_s=flush_latency_s)
        self.broken: set[str] = set()

    def crash(self, torn_bytes: int = 0) -> "ScriptDisk":
        left = super().crash(torn_bytes)
        files = {name: bytes(data) for name, data in left.files.items()}
        return ScriptDisk(files, flush_latency_s=left.flush_latency_s)

    async def truncate(self, name: str, size: int) -> None:
        if "truncate" in self.broken:
            raise DiskFailed(f"{name} cannot be written: no space left")
        await super().truncate(name, size)

    async def append(self, name: str, data: bytes) -> None:
        if "append" in self.broken:
            raise DiskFailed(f"{name} cannot be written: no space left")
        await super().append(name, data)


class EnsembleStage:
    """One ensemble at a time, and a client of each peer that a script asks for."""

    def __init__(self, stack: AsyncExitStack, nursery: trio.Nursery) -> None:
        self._stack = stack
        self._nursery = nursery
        self._network = MemoryNetwork()
        self._ensemble: MemoryEnsemble
        self._clients: dict[int, Client] = {}
        self._at = 0
        self._stopped: dict[int, str] = {}
        self._begun: dict[str, str] = {}

    async def run(self, command: Command) -> str:
        do: Callable[..., Awaitable[str | None]] = getattr(self, command.name.replace("-", "_"))
        return await do(*command.words, **command.options) or ""

    # Power

    async def peers(
        self,
        count: str,
        off: str = "",
        *,
        observers: str = "0",
        flush_ms: str = "0",
        snap_count: str = "100000",
        committed_log: str = "500",
        snapshots: str = "no",
    ) -> str:
        """A new ensemble; ``snapshots=always`` lets leaders not read their logs for learners."""
        await self._stack.aclose()
        self._network = MemoryNetwork()
        self._clients.clear()
        self._stopped.clear()
        self._ensemble = await self._stack.enter_async_context(
            open_ensemble(
                self._network,
                peers=int(count),
                observers=int(observers),
                settings=Settings(snapshot_size_factor=-1.0 if snapshots == "always" else 0.33),
                limits=Limits(
                    snap_count=int(snap_count), committed_log_txns_max=int(committed_log), snapshot_chunk_bytes=1000
                ),
                disk=lambda _: ScriptDisk(flush_latency_s=int(flush_ms) / 1000),
                failed=self._failed,
                start=not off,
            )
        )
        return "" if off else await self.serving()

    def _failed(self, life: Life, error: Exception) -> bool:
        inner = error
        while isinstance(inner, ExceptionGroup):
            inner = inner.exceptions[0]
        self._stopped[life.peer.id] = f"{type(inner).__name__}: {inner}"
        if life.peer.running:
            life.peer.end()
        return True

    async def start(self, *ids: str) -> str:
        """Start peers; says so where one does not come up."""
        for text in ids:
            self._stopped.pop(int(text), None)
        await self._ensemble.start(*map(int, ids))
        return await self.stopped()

    async def stopped(self) -> str:
        """Peers that stopped by themselves, and why."""
        await trio.testing.wait_all_tasks_blocked()
        return "\n".join(f"{peer} stopped by itself: {why}" for peer, why in sorted(self._stopped.items()))

    async def stop(self, *ids: str) -> None:
        await self._ensemble.stop(*map(int, ids))

    async def crash(self, *ids: str, torn: str = "0") -> None:
        """Power loss; of what was being written ``torn`` bytes are there."""
        await self._ensemble.crash(*map(int, ids), torn_bytes=int(torn))

    async def boot(self, *ids: str) -> None:
        """``start`` without waiting until they are up."""
        self._nursery.start_soon(self._ensemble.start, *map(int, ids))
        await trio.testing.wait_all_tasks_blocked()

    async def arm(self, moment: str, *ids: str, peer: str = "") -> None:
        """Cut the power of these peers, or of all, at the next event of this kind, of ``peer`` or of anybody."""
        kind = MOMENTS[moment]
        done = False

        def look(of: int, event: Event) -> None:
            nonlocal done
            leads = not isinstance(event, Established) or event.role == "leader"
            if isinstance(event, kind) and leads and peer in ("", str(of)) and not done:
                done = True
                self._ensemble.power_off(*map(int, ids))

        self._ensemble.subscribe(look)

    async def down(self, *ids: str) -> None:
        """Wait until these peers have lost power, or stopped by themselves."""
        await self._ensemble.wait_until(lambda: not set(map(int, ids)) & set(self._ensemble.running()))
        await self._ensemble.wait_down(*map(int, ids))

    async def happens(self, moment: str) -> None:
        """Wait for the next event of this kind."""
        kind, seen = MOMENTS[moment], trio.Event()
        end = self._ensemble.subscribe(lambda _, event: seen.set() if isinstance(event, kind) else None)
        with trio.fail_after(60):
            await seen.wait()
        end()

    # Faults

    async def partition(self, *words: str) -> None:
        """``partition 1 | 2 3``"""
        groups: list[list[int]] = [[]]
        for word in words:
            if word == "|":
                groups.append([])
            else:
                groups[-1].append(int(word))
        self._ensemble.partition(*groups)

    async def heal(self) -> None:
        self._ensemble.heal()

    async def slow(self, seconds: str, *ids: str) -> None:
        """From now on a flush takes so long, at these peers or at all."""
        for peer in map(int, ids) if ids else self._ensemble.peers:
            self._ensemble.peers[peer].disk.flush_latency_s = float(seconds)

    async def break_disk(self, peer: str, what: str) -> None:
        """Its disk fails to ``truncate``, or to ``append``."""
        disk = self._ensemble.peers[int(peer)].disk
        assert isinstance(disk, ScriptDisk)
        disk.broken.add(what)

    async def repair_disk(self, peer: str) -> None:
        disk = self._ensemble.peers[int(peer)].disk
        assert isinstance(disk, ScriptDisk)
        disk.broken.clear()

    async def delay(self, a: str, b: str, seconds: str, *, jitter: str = "0") -> None:
        """What two peers send each other takes so long."""
        one, other = (self._ensemble.peers[int(peer)].node for peer in (a, b))
        self._network.delay(one, other, float(seconds), jitter_s=float(jitter), random=Random(1))

    async def snapshot(self, peer: str) -> None:
        """The peer takes one now."""
        await self._ensemble.peers[int(peer)].database.take_snapshot()

    async def remove(self, peer: str, prefix: str) -> None:
        """Somebody deletes files of a peer that is down."""
        files = self._ensemble.peers[int(peer)].disk.files
        for name in [name for name in files if name.startswith(prefix)]:
            del files[name]

    async def wipe(self, peer: str) -> None:
        """Everything on the disk of a peer that is down is gone."""
        self._ensemble.peers[int(peer)].disk = ScriptDisk()
        self._ensemble.safety.wiped(int(peer))

    async def put(self, peer: str, name: str, data: str = "") -> None:
        """A file, hexadecimal, on the disk of a peer that is down."""
        self._ensemble.peers[int(peer)].disk.files[name] = bytearray.fromhex(data)

    async def stranger(self, port: str, peer: str, *frames: str) -> str:
        """Somebody dials a port (``quorum``, ``election``) and sends frames, or nothing; is the line still open?"""
        me = self._ensemble.peers[int(peer)].config.me
        assert me is not None
        transport = self._network.transport("stranger")
        link = await transport.connect(me.quorum if port == "quorum" else me.election, frame_bytes_max=1 << 24)
        for frame in frames:
            await link.send(bytes.fromhex(frame))
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.1):
            try:
                await link.receive()
            except LinkClosed:
                return "hung up on"
        return "left waiting"

    # Clients

    async def client(self, peer: str) -> str:
        """A session at this peer, which commands use from now on."""
        self._at = int(peer)
        self._clients[self._at] = await self._stack.enter_async_context(
            self._ensemble.client(self._at, session_timeout_ms=40_000, request_timeout_ms=60_000)
        )
        return ""

    async def write(self, path: str, *, size: str = "0") -> str:
        """Create a node."""
        return f"{path}: {await self._create(path, int(size))}"

    async def _create(self, path: str, size: int) -> str:
        try:
            _, stat = await self._clients[self._at].create2(path, bytes(size))
        except RequestFailed as failure:
            return Code(failure.code).name.lower()
        return f"committed as {show(stat.czxid)}"

    async def writes(self, prefix: str, count: str, *, size: str = "0") -> str:
        """Create so many nodes, one after the other."""
        done = [await self._create(f"{prefix}{number}", int(size)) for number in range(int(count))]
        return f"{prefix}0 to {prefix}{int(count) - 1}: {done[0]} to {done[-1].rpartition(' ')[2]}"

    async def reads(self, path: str, count: str) -> None:
        for _ in range(int(count)):
            await self._clients[self._at].get(path)

    async def begin(self, *paths: str) -> None:
        """Send creates without waiting for their answers; see ``ended``."""

        async def one(path: str) -> None:
            self._begun[path] = await self._create(path, 0)

        for path in paths:
            self._begun[path] = "no answer yet"
            self._nursery.start_soon(one, path)
            await trio.testing.wait_all_tasks_blocked()

    async def flood(self, prefix: str, count: str) -> None:
        """Create so many nodes in the background, ten at a time."""
        left = list(range(int(count)))

        async def some() -> None:
            while left:
                path = f"{prefix}{left.pop(0)}"
                self._begun[path] = await self._create(path, 0)

        for _ in range(10):
            self._nursery.start_soon(some)

    async def flooded(self, count: str) -> str:
        """Wait until all of those have ended, with a commit or a lost connection."""
        while len(self._begun) < int(count):
            await trio.sleep(0.1)
        done = sum("committed" in how for how in self._begun.values())
        self._begun.clear()
        return f"{done} committed, {int(count) - done} lost"

    async def ended(self) -> str:
        """How those ended."""
        await trio.testing.wait_all_tasks_blocked()
        lines = [f"{path}: {how}" for path, how in self._begun.items()]
        self._begun.clear()
        return "\n".join(lines)

    # What can be seen

    async def wait(self, seconds: str) -> None:
        await trio.sleep(float(seconds))

    async def serving(self, *ids: str) -> str:
        """Wait until these peers, or all that run, serve under one leader."""
        leader = await self._ensemble.wait_serving(*map(int, ids))
        term = self._ensemble.peers[leader].established
        assert term is not None
        return f"{leader} leads epoch {term.epoch}"

    async def becomes(self, peer: str, state: str) -> None:
        """Wait until a peer is looking, leading, following, observing or down."""
        await self._ensemble.wait_until(lambda: self._ensemble.peers[int(peer)].state == state)

    async def state(self) -> str:
        return "\n".join(map(self._state, self._ensemble.peers.values()))

    @staticmethod
    def _state(peer: Any) -> str:
        term = peer.established
        return f"{peer.id} {peer.state}" + (f", serves in epoch {term.epoch}" if term else "")

    async def tree(self, *ids: str) -> str:
        """What peers have applied."""
        peers = [self._ensemble.peers[peer] for peer in (map(int, ids) if ids else self._ensemble.running())]
        return "\n".join(f"{peer.id} has {_paths(peer.database.tree)}" for peer in peers)

    async def disk(self, *ids: str) -> str:
        """What peers would find on their disks if the power went now."""
        lines: list[str] = []
        for peer in map(int, ids):
            disk = self._ensemble.peers[peer].disk
            accepted, current = (bytes(disk.files[name]).decode() for name in ("acceptedEpoch", "currentEpoch"))
            tree = await on_disk(disk)
            lines.append(f"{peer} would start with {_paths(tree)}, epochs {accepted} and {current}")
        return "\n".join(lines)

    async def equal(self) -> str:
        """Whether all that run have the same tree, in memory and on disk."""
        await trio.sleep(1)
        peers = [self._ensemble.peers[peer] for peer in self._ensemble.running()]
        digests = {peer.database.tree.digest for peer in peers}
        digests |= {(await on_disk(peer.disk)).digest for peer in peers}
        return f"{len(peers)} peers, {len(digests)} tree{'s' if len(digests) > 1 else ''}"

    async def files(self, peer: str, prefix: str) -> str:
        names = sorted(name for name in self._ensemble.peers[int(peer)].disk.files if name.startswith(prefix))
        return f"{peer} has {' '.join(names) or 'none'}"

    async def heard(self, kind: str, peer: str) -> str:
        """How a peer was last synchronised (``sync``), with which zxid it last stood for election (``vote``), or how
        often it has read its data (``loads``).
        """
        sid = int(peer)
        match kind:
            case "sync":
                sync = self._events(SyncReceived, sid)[-1]
                return f"{peer} was brought up by {sync.mode} to {show(sync.zxid)}"
            case "vote":
                return f"{peer} stands for election with {show(self._events(RoundStarted, sid)[-1].zxid)}"
            case "loads":
                return f"{peer} loaded its data {len(self._events(DatabaseLoaded, sid))} times"
        raise ValueError(kind)

    def _events(self, kind: type[Event], peer: int) -> list[Any]:
        return [it.event for it in self._ensemble.trace if isinstance(it.event, kind) and it.peer == peer]

    async def learner(self, sid: str, *, last: str, accepted: str = "0") -> str:
        """A learner played by hand joins the leader; every packet up to NEWLEADER and what is there behind it."""
        leader = self._ensemble.leader()
        assert leader is not None
        me = self._ensemble.peers[leader].config.me
        assert me is not None
        link = await self._network.transport(f"learner{sid}").connect(me.quorum, frame_bytes_max=1 << 24)
        info = LearnerInfo(int(sid), 0x10000, 0).encode()
        await link.send(encode_packets([QuorumPacket(PacketType.FOLLOWERINFO, int(accepted) << 32, info)]))
        await link.receive()
        await link.send(encode_packets([QuorumPacket(PacketType.ACKEPOCH, zx(last), encode_ack_epoch(0))]))
        await trio.testing.wait_all_tasks_blocked()
        seen: list[str] = []
        with trio.move_on_after(0.1):
            while True:
                seen += [f"{PacketType(p.type).name} {show(p.zxid)}" for p in decode_packets(await link.receive())]
        await link.aclose()
        return "\n".join(seen)


def _paths(tree: Any) -> str:
    paths = sorted(path for path in tree.nodes if path != "/" and not path.startswith("/zookeeper"))
    return f"{show_all([tree.last_zxid])}: {' '.join(paths) if len(paths) < 12 else f'{len(paths)} nodes'}".rstrip(": ")
