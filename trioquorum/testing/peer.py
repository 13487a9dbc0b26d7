"""One peer of an ensemble in memory: its disk, which outlives it, and its lives from start to stop or crash."""

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from trioquorum.config import ServerConfig
from trioquorum.errors import DiskFailed
from trioquorum.events import Established, Event, Events, PeerStarted, StateChanged
from trioquorum.peer.members import Members
from trioquorum.peer.oracle import Ask
from trioquorum.peer.run import Surroundings, serve as serve_peer
from trioquorum.storage.database import Database
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.testing.network import Network, node_name
from trioquorum.testing.seeded import NODE
from trioquorum.transport import Transports
from trioquorum.zab.quorum import QuorumConfig

DOWN: Final = "down"
WALL_CLOCK_START_MS: Final = 1_700_000_000_000

Serve = Callable[[ServerConfig, Events, Surroundings], Awaitable[object]]
"""What a life is, as ``peer.run.serve``."""


class MemoryPeer:
    """A peer, running or not. ``node`` is its name in the network, ``disk`` what it will find at its next start.

    ``running`` says that it was started and neither stopped nor crashed, ``state`` is that of ``StateChanged`` or
    ``down``; ``established`` is set while it serves. ``wall_offset_ms`` is how wrong its wall clock goes. ``serve``
    is what its lives from the next one on are: more than the peer alone where somebody looks.
    """

    def __init__(self, config: ServerConfig, disk: MemoryDisk, network: Network, seed: int) -> None:
        self.id = config.my_id
        self.node = node_name(config.my_id)
        self.config = config
        self.disk = disk
        self.oracle: Ask | None = None
        self.serve: Serve = serve_peer
        self.running = False
        self.state = DOWN
        self.established: Established | None = None
        self.wall_offset_ms = 0
        self._network = network
        self._seed = seed
        self._lives = 0
        self._let_alone = False
        self._life: Life | None = None
        self._database: Database | None = None
        self._members: Members | None = None

    @property
    def may_lead_alone(self) -> bool:
        """Whether an oracle said so in this life."""
        return self._let_alone

    @property
    def ever_began(self) -> bool:
        """Whether it was ever started."""
        return self._life is not None

    @property
    def begun(self) -> bool:
        """Whether it was ever started."""
        return self._life is not None

    @property
    def loaded(self) -> bool:
        """Whether there is a ``database``."""
        return self._database is not None

    @property
    def database(self) -> Database:
        """Of the present life, once it is loaded; after its end as it was left, until the next start.

        Raises:
            ValueError: there is none.
        """
        if self._database is None:
            raise ValueError(f"peer {self.id} has not loaded its data")
        return self._database

    @property
    def configs(self) -> tuple[QuorumConfig, ...]:
        """The committed configuration and, while one is proposed, that one behind it; as the peer last knew them."""
        members = self._members
        if members is None:
            return (self.config.quorum_config(),)
        return (members.committed, members.last_seen) if members.pending else (members.committed,)

    @property
    def life(self) -> "Life":
        """The present life, or the last one.

        Raises:
            ValueError: it never had any.
        """
        if self._life is None:
            raise ValueError(f"peer {self.id} was never started")
        return self._life

    def begin(self, heard: "Callable[[Life, Event], None]", failed: "Failed | None" = None) -> "Life":
        """A new life, to be lived by ``Life.run``; ``heard`` is told its events until the power goes off.

        ``failed`` is asked about what ends it; see ``Failed``.

        Raises:
            ValueError: it runs already.
        """
        if self.running:
            raise ValueError(f"peer {self.id} runs already")
        self._lives += 1
        self._let_alone = False
        self.running = True
        self._database = None
        self._life = life = Life(self, self._lives, heard, failed)
        return life

    def end(self) -> "Life":
        """The present life is over, but for its last steps.

        Raises:
            ValueError: it does not run.
        """
        if not self.running:
            raise ValueError(f"peer {self.id} does not run")
        self.running = False
        self.state = DOWN
        self.established = None
        return self.life

    def cut_power(self, torn_bytes: int) -> None:
        """The machine is off from this moment; its disk has what was flushed, and ``torn_bytes`` of what was not.

        Raises:
            ValueError: it does not run.
        """
        life = self.end()
        life.power_off = True
        self.disk = life.disk.crash(torn_bytes)
        self._network.node_down(self.node)
        life.scope.cancel(reason="the power went off")

    def surroundings(self, life: "Life") -> Surroundings:
        """The world as this life sees it."""
        return Surroundings(
            transports=Transports(memory=self._network.transport(self.node)),
            rng=random.Random(f"{self._seed}/{self.id}/{life.number}"),
            wall_ms=partial(self._wall_ms, life.number),
            disks=(life.disk, life.disk),
            on_members=self._joined,
            on_database=self._loaded,
            oracle=None if self.oracle is None else partial(self._ask, self.oracle),
        )

    async def _ask(self, oracle: Ask) -> bool:
        may = await oracle()
        self._let_alone = self._let_alone or may
        return may

    def note(self, event: Event) -> None:
        """Keep ``state`` and ``established``."""
        if isinstance(event, StateChanged):
            self.state = event.new
            self.established = None
        elif isinstance(event, Established):
            self.established = event

    def _joined(self, members: Members) -> None:
        self._members = members

    def _loaded(self, database: Database) -> None:
        self._database = database

    def _wall_ms(self, life: int) -> int:
        """Virtual time of day; a later life is later, because session ids are made of it."""
        return WALL_CLOCK_START_MS + life + self.wall_offset_ms + int(trio.current_time() * 1000)


Failed = Callable[["Life", Exception], bool]
"""Told what made a peer stop; true if that is in order, so that the others go on and this one may be started again."""


class Life:
    """A peer from start to stop or crash. ``started`` is set when it has its data and ports, or will never have."""

    def __init__(
        self,
        peer: MemoryPeer,
        number: int,
        heard: "Callable[[Life, Event], None]",
        failed: Failed | None,
    ) -> None:
        self.peer = peer
        self.number = number
        self.disk = peer.disk
        self.scope = trio.CancelScope()
        self.started = trio.Event()
        self.ended = trio.Event()
        self.power_off = False
        self._heard = heard
        self._failed = failed

    async def run(self) -> None:
        """Live it; returns when ``scope`` was cancelled and nothing of the peer is left.

        Raises:
            Exception: whatever made the peer stop, but for a disk without power that cannot be written to, and for what
                ``failed`` finds in order.
        """
        NODE.set(self.peer.node)
        try:
            with self.scope:
                await self.peer.serve(self.peer.config, Events(self._tell), self.peer.surroundings(self))
        except* DiskFailed as group:
            if not (self.power_off or self._in_order(group)):
                raise
        except* Exception as group:
            if not self._in_order(group):
                raise
        finally:
            self.started.set()
            self.ended.set()
        await trio.lowlevel.checkpoint()

    def _in_order(self, error: Exception) -> bool:
        return self._failed is not None and self._failed(self, error)

    def _tell(self, event: Event) -> None:
        # A dead machine tells nothing, though its tasks take a few more steps.
        if not self.power_off:
            if isinstance(event, PeerStarted):
                self.started.set()
            self._heard(self, event)
