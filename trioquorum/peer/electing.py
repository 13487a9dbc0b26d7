"""The election machine on Trio: its timer, its links, its facts (quorum-protocol §5)."""

from collections.abc import Awaitable, Callable, Iterable

import trio

from trioquorum.errors import RoleEnded
from trioquorum.events import Elected, Events
from trioquorum.peer.links import ElectionMesh
from trioquorum.wire.election import PeerState
from trioquorum.zab.ballots import (
    AskOracle,
    ConfigHeard,
    ConnectAll,
    Done,
    Effect,
    Observe,
    ReportLooking,
    Send,
    SendAgain,
    SendAll,
    Settle,
    Vote,
    Wait,
)
from trioquorum.zab.election import Election
from trioquorum.zab.quorum import QuorumConfig


def _unheeded(_: str) -> None:
    """Nobody wants to know."""


class Elections:
    """Every election of one peer, and its answers to looking peers between them.

    ``on_looking`` is called with each voter that looks for a leader while we lead (rule Q, §7.1). ``on_newer_config``
    is called with the text of each configuration newer than ours that is heard of while we look (§5.1.2).
    ``lets_lead_alone`` answers ``AskOracle``.
    """

    def __init__(
        self,
        election: Election,
        mesh: ElectionMesh,
        events: Events,
        lets_lead_alone: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self.on_looking: Callable[[int], None] | None = None
        self.on_newer_config: Callable[[str], None] = _unheeded
        self._election = election
        self._mesh = mesh
        self._events = events
        self._done: Done | None = None
        self._due = 0.0
        self._settling = False
        self._lets_lead_alone = lets_lead_alone
        self._asked = False
        self._restart = False
        self._woken = trio.Event()
        mesh.on_link_up = election.link_up
        mesh.on_link_down = self._link_down

    @property
    def leading_votes(self) -> frozenset[int]:
        """Who agreed when we were elected leader; empty in every other state."""
        return self._election.leading_votes

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen to the mesh, whatever our state, until cancelled."""
        task_status.started()
        while True:
            sender, note = await self._mesh.receive()
            self._perform(self._election.heard(sender, note))

    async def look(self, *, zxid: int, peer_epoch: int) -> tuple[PeerState, Vote]:
        """Hold a round to its end: the role to take, and for whom. ``run`` must be running.

        ``zxid`` is the last one in our log, applied or not, ``peer_epoch`` our current epoch. Cancelled, the round is
        abandoned.

        Raises:
            RoleEnded: ``restart`` was called.
        """
        started_at = trio.current_time()
        self._done = None
        self._asked = False
        self._restart = False
        try:
            self._perform(self._election.look(zxid, peer_epoch))
            await trio.lowlevel.checkpoint()
            while self._done is None:
                if self._restart:
                    raise RoleEnded("the ensemble has a newer configuration")
                if self._asked and self._lets_lead_alone is not None:
                    self._asked = False
                    lead = await self._lets_lead_alone()
                    self._perform(self._election.oracle_says(lead=lead))
                else:
                    await self._wait_for_timer()
        finally:
            if self._done is None:
                self._election.abandon()
        done = self._done
        self._events.emit(
            Elected(
                leader=done.vote.leader,
                round=done.vote.round,
                voters=tuple(sorted(done.voters)),
                duration_ms=round((trio.current_time() - started_at) * 1000),
            )
        )
        return done.state, done.vote

    def restart(self) -> None:
        """End the round under way, if there is one: it is held by an old configuration."""
        self._restart = True
        self._woken.set()

    def set_configs(self, committed: QuorumConfig, last_seen: QuorumConfig) -> None:
        """Vote by these configurations from now on."""
        self._election.set_configs(committed, last_seen)

    def designated(self, leader: int, *, zxid: int, peer_epoch: int) -> tuple[PeerState, Vote]:
        """A reconfiguration designated ``leader``: the role to take without an election, and looking peers are told."""
        return self._election.designated(leader, zxid, peer_epoch)

    def call_members(self) -> None:
        """Call every other member without a link."""
        self._mesh.connect_all()

    def set_peer_epoch(self, epoch: int) -> None:
        """The epoch is established; looking peers are told so from now on."""
        self._election.set_peer_epoch(epoch)

    def _link_down(self, sid: int) -> None:
        self._perform(self._election.link_down(sid))

    async def _wait_for_timer(self) -> None:
        """Until the timer ends, is set anew, or the round is over."""
        self._woken = trio.Event()
        with trio.move_on_at(self._due):
            await self._woken.wait()
        if self._woken.is_set():
            return  # Perhaps in the very moment the old timer ended: it is no more.
        if self._settling:
            self._perform(self._election.settle_over())
        else:
            self._perform(self._election.silence(self._mesh.any_queue_idle()))

    def _set_timer(self, ms: int, *, settling: bool) -> None:
        self._due = trio.current_time() + ms / 1000
        self._settling = settling
        self._woken.set()

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(sid, note):
                    self._mesh.send(sid, note)
                case SendAll(sids, note):
                    for sid in sids:
                        self._mesh.send(sid, note)
                case SendAgain(sids, note):
                    for sid in sids:
                        self._mesh.send_again(sid, note)
                case ConnectAll():
                    self._mesh.connect_all()
                case Wait(ms):
                    self._set_timer(ms, settling=False)
                case Settle(ms):
                    self._set_timer(ms, settling=True)
                case Done():
                    self._done = effect
                    self._woken.set()
                case AskOracle():
                    self._asked = True
                    self._woken.set()
                case ReportLooking(sid):
                    if self.on_looking is not None:
                        self.on_looking(sid)
                case ConfigHeard(_, _, text):
                    self.on_newer_config(text)
                case Observe(event):
                    self._events.emit(event)
