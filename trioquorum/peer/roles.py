"""A peer: what outlives roles, and the loop that gives it one role after the other (design §2.3, quorum-protocol §6).

::

    peer
    ├─ log writer   the only writer of the log
    ├─ election     links to the other peers, answers to those who look for a leader
    └─ role         LOOKING, then LEADING, FOLLOWING or OBSERVING; one cancel scope each
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from trioquorum.config import ServerConfig
from trioquorum.errors import LinkClosed, PeerProtocolError, RoleEnded
from trioquorum.events import Events, ReadOnlyBegan, StateChanged
from trioquorum.peer.electing import Elections
from trioquorum.peer.following import Following
from trioquorum.peer.keeping import Keeper
from trioquorum.peer.leading import Leading
from trioquorum.peer.links import ElectionMesh
from trioquorum.peer.masters import Masters
from trioquorum.peer.members import Members
from trioquorum.peer.oracle import Oracle, file_oracle
from trioquorum.peer.standalone import lead_alone
from trioquorum.peer.surroundings import DATA_FOLDER as DATA_FOLDER, Surroundings as Surroundings
from trioquorum.peer.terms import audit_of, terms_of
from trioquorum.pipeline.leader import LeaderService
from trioquorum.pipeline.learner import LearnerService, SendPackets
from trioquorum.pipeline.read_only import ReadOnlyService
from trioquorum.pipeline.service import Service
from trioquorum.pipeline.stats import ServerStats
from trioquorum.server.clients import ClientPorts
from trioquorum.storage.database import Database
from trioquorum.storage.epochs import Epochs
from trioquorum.storage.room import DiskRoom
from trioquorum.transport import Address
from trioquorum.tree.sessions import SessionIds
from trioquorum.wire.election import PeerState
from trioquorum.zab.ballots import Vote
from trioquorum.zab.election import Election
from trioquorum.zab.leader import Leader

READ_ONLY_GRACE_S = 2.0
PAUSE_FIRST_S = 0.02
PAUSE_LONGEST_S = 1.0


class Peer:
    """What outlives roles, and what roles use of it."""

    def __init__(
        self,
        config: ServerConfig,
        events: Events,
        around: Surroundings,
        db: Database,
        epochs: Epochs,
        members: Members,
        ports: ClientPorts,
        stats: ServerStats,
        room: DiskRoom,
    ) -> None:
        self.config = config
        self.events = events
        self.transports = around.transports.on_all_addresses() if config.quorum_listen_on_all_ips else around.transports
        self.db = db
        self.log = db.log
        self.epochs = epochs
        self.stats = stats
        self.members = members
        self.session_ids = SessionIds(config.my_id, around.wall_ms())
        self.terms = terms_of(config, around.wall_ms, around.nonce, audit_of(config, events))
        self.masters = Masters(config, around.rng)
        self.oracle: Oracle | None = None
        if config.oracle_path:
            self.oracle = Oracle(around.oracle or file_oracle(Path(config.oracle_path)))
        self._rng = around.rng
        self._ports = ports
        self._state = "starting"
        self._elections: Elections | None = None
        self._established = False
        self._looking, self._looked = trio.CancelScope(), trio.Event()
        self._unserved, self._ports_free = trio.CancelScope(), trio.Event()
        self._ports_free.set()
        self.room = room
        self.keeper = Keeper(db, config, around.rng, room, events)

    @property
    def addresses(self) -> list[Address]:
        """Of the client ports that are bound."""
        return self._ports.addresses

    async def run(self) -> None:
        """One role after the other, until cancelled."""
        if not self.config.peers:
            self._become("standalone", "no other peers are configured")
            await lead_alone(self)
            return
        mesh = ElectionMesh(
            self.config.my_id,
            self.members.election_addresses(),
            self.members.my_election_address(),
            self.transports,
            self.config.limits,
            self.events,
            self.config.connect_timeout_ms,
            self._rng,
            guests=self.config.reconfig_enabled,
        )
        machine = Election(
            self.config.my_id,
            self.members.committed,
            self.members.last_seen,
            settle_ms=self.config.election_settle_ms,
            resend_ms_min=self.config.election_resend_ms_min,
            resend_ms_max=self.config.election_resend_ms_max,
            oracle=self.oracle is not None,
        )
        asks = self.oracle.lets_lead_alone if self.oracle is not None else None
        self._elections = elections = Elections(machine, mesh, self.events, asks)
        self.members.attach(mesh, elections, self._ports)
        async with trio.open_nursery() as nursery:
            await nursery.start(mesh.run)
            await nursery.start(elections.run)
            reason = "the peer starts"
            pause_s = 0.0
            while True:
                self._established = False
                reason = await self._one_role(elections, reason)
                # A role that never came to serve may fail at once again: do not spin.
                pause_s = 0.0 if self._established else min(max(2 * pause_s, PAUSE_FIRST_S), PAUSE_LONGEST_S)
                await trio.sleep(pause_s + self._observers_delay_s())

    async def _one_role(self, elections: Elections, reason: str) -> str:
        """LOOKING, then the role the election gave; why it ended."""
        ended = "the role ended"
        self._become("looking", reason)
        self._looking, self._looked = trio.CancelScope(), trio.Event()
        self._unserved, self._ports_free = trio.CancelScope(), trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve_without_role)
                state, vote, why = await self._choose(elections)
                # A role changes the tree, which must not be read from meanwhile.
                self._looking.cancel(reason="the next role is known")
                await self._looked.wait()
                self._become(state.name.lower(), why)
                await self._role(state, vote).run()
        except* (RoleEnded, LinkClosed, PeerProtocolError) as group:
            ended = first_reason(group)
        finally:
            # The next vote counts what is in the log, committed or not (ZOOKEEPER-2845), so nothing may be under way.
            with trio.CancelScope(shield=True):
                await self.log.drained()
            self.log.on_flushed = _ignore
            self.room.ignore()
            self.db.fast_forward()
        return ended

    async def _choose(self, elections: Elections) -> tuple[PeerState, Vote, str]:
        """The next role and why: by an election, or as a reconfiguration designated it (quorum-protocol §6)."""
        await trio.lowlevel.checkpoint()
        leader = self.members.take_next_leader()
        if leader is not None:
            state, vote = elections.designated(leader, zxid=self.db.last_zxid, peer_epoch=self.epochs.current)
            return state, vote, f"peer {vote.leader} is designated to lead"
        await self.members.adopt_heard()
        state, vote = await elections.look(zxid=self.db.vote_zxid, peer_epoch=self.epochs.current)
        return state, vote, f"peer {vote.leader} was elected"

    def _observers_delay_s(self) -> float:
        """Observers that lost one leader must not all ask for the next in the same moment (§6)."""
        if self._state != PeerState.OBSERVING.name.lower():
            return 0.0
        return self._rng.random() * self.config.observer_election_delay_ms / 1000

    async def _serve_without_role(self) -> None:
        """Tell clients that this peer does not serve, until a service takes the ports over.

        If it looks for a leader for very long, some may read (client-protocol §19).
        """
        try:
            with self._unserved:
                try:
                    if self.config.read_only_enabled:
                        with self._looking:
                            await self._serve_read_only()
                finally:
                    self._looked.set()
                await self._ports.serve(None)
        finally:
            self._ports_free.set()

    async def _serve_read_only(self) -> None:
        """Serve nobody for the grace of quorum-protocol §24, then whoever can live with old data."""
        tick_s = self.config.tick_time_ms / 1000
        with trio.move_on_after(max(READ_ONLY_GRACE_S, tick_s)):
            await self._ports.serve(None)
        service = ReadOnlyService(self.db, self.terms, self.session_ids, self.stats, self.events)
        self.events.emit(ReadOnlyBegan(zxid=self.db.last_zxid))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ports.serve, service)
            while True:
                await trio.sleep(tick_s)
                service.expire()

    def _role(self, state: PeerState, vote: Vote) -> Leading | Following:
        if state is PeerState.LEADING:
            return Leading(self)
        return Following(self, vote.leader, observer=state is PeerState.OBSERVING)

    def _become(self, state: str, reason: str) -> None:
        old, self._state = self._state, state
        self.events.emit(StateChanged(old=old, new=state, reason=reason))

    def lacks_room(self) -> None:
        """The peer ends because its disk is full, and starts again when it is not."""
        self._become("starting", "the disk is full")

    # What roles use

    def established(self, epoch: int) -> None:
        """The role holds in ``epoch``: late joiners are told so (quorum-protocol §5.2.11)."""
        self._established = True
        self.members.show(self.db.tree)
        self._unserved.cancel(reason="a service takes over")
        assert self._elections is not None
        self._elections.set_peer_epoch(epoch)

    def call_members(self) -> None:
        """Call every other member without an election link."""
        assert self._elections is not None
        self._elections.call_members()

    def leading_votes(self) -> frozenset[int]:
        """Who elected this peer the leader it is now."""
        return self._elections.leading_votes if self._elections is not None else frozenset()

    @contextmanager
    def told_who_looks(self, told: Callable[[int], None]) -> Iterator[None]:
        """In this block ``told`` is called with every voter that looks for a leader, while this peer leads."""
        assert self._elections is not None
        self._elections.on_looking = told
        try:
            yield
        finally:
            self._elections.on_looking = None

    def leader_service(self, machine: Leader, first_zxid: int, *, standalone: bool) -> LeaderService:
        """The service of a new leader."""
        service = LeaderService(
            self.db,
            self.terms,
            self.session_ids,
            self.stats,
            self.events,
            machine=machine,
            first_zxid=first_zxid,
            standalone=standalone,
        )
        service.share_inflight(len(machine.config.voters))
        service.refuse_writes(self.room.nearly_full)
        self.room.on_change = service.refuse_writes
        self.room.came_back()
        return service

    def learner_service(self, *, master: int, observer: bool, send: SendPackets) -> LearnerService:
        """The service of a new follower or observer, which ``master`` feeds."""
        service = LearnerService(
            self.db,
            self.terms,
            self.session_ids,
            self.stats,
            self.events,
            master=master,
            observer=observer,
            send=send,
        )
        if not observer:
            service.share_inflight(len(self.members.committed.voters))
        self.room.came_back()
        return service

    def jitter_s(self, up_to_ms: int) -> float:
        """A pause that keeps peers from doing something in step."""
        return self._rng.random() * up_to_ms / 1000 if up_to_ms else 0.0

    async def serve_clients(self, service: Service | None) -> None:
        """Let clients in, for as long as the role lasts."""
        await self._ports_free.wait()
        await self._ports.serve(service)


def _ignore(zxid: int) -> None:
    """Nobody waits for flushes between roles."""


def first_reason(group: BaseExceptionGroup[BaseException]) -> str:
    """What the first of its errors says."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
