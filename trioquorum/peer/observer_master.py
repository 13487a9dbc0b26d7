"""A follower as the master of observers (quorum-protocol §14): a port where they join, and none of a leader's votes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from trioquorum.errors import LinkClosed, PeerProtocolError
from trioquorum.events import LearnersListening
from trioquorum.peer.history import disk_records, plan_history
from trioquorum.peer.learner_handler import LearnerHandler
from trioquorum.peer.learner_port import LearnerPort, listen
from trioquorum.pipeline.feeding import Feed
from trioquorum.pipeline.learner import LearnerService
from trioquorum.transport import Address
from trioquorum.tree.prep import WriteRequest
from trioquorum.wire.quorum import PacketType

if TYPE_CHECKING:
    from trioquorum.peer.roles import Peer


class ObserverMaster:
    """Feeds observers while this peer follows in ``epoch``, which is theirs at once: it needs nobody's consent."""

    introductions = frozenset((PacketType.OBSERVERINFO,))

    def __init__(self, peer: "Peer", service: LearnerService, epoch: int) -> None:
        self.peer = peer
        self.port = LearnerPort(self)
        self.service = service
        self.feed = service.feed = Feed(service, peer.config.limits.observer_master_bytes_max)
        self.tick = 0
        self.init_limit_s = peer.config.init_limit_ticks * peer.config.tick_time_ms / 1000
        self.history_limit_s = 10 * self.init_limit_s
        self._epoch = epoch
        self._wanted = trio.Event()

    async def run(self, address: Address) -> None:
        """Feed whoever comes to ``address``, until cancelled.

        Raises:
            OSError: it cannot be bound; ``filename`` holds it.
        """
        frame_max = self.peer.config.limits.peer_frame_bytes_max
        listener = await listen(self.peer.transports, address, frame_max, self.init_limit_s)
        self.peer.events.emit(LearnersListening(address=str(listener.address)))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.port.accept, listener, name="observer master")
                await self._ticker()
        finally:
            await listener.aclose()

    def _ping(self) -> None:
        self.port.ping(self.peer.db.last_zxid, refuses_writes=self.service.refuses_writes)

    async def _ticker(self) -> None:
        """Twice a tick: ping; every tick: who is not heard of any more? Rests while there are no observers."""
        half_tick_s = self.peer.config.tick_time_ms / 2000
        sync_limit = self.peer.config.sync_limit_ticks
        while True:
            if not self.port.handlers:
                self._wanted = trio.Event()
                await self._wanted.wait()
            await trio.sleep(half_tick_s)
            self._ping()
            await trio.sleep(half_tick_s)
            self.tick += 1
            self._ping()
            for handler in list(self.port.handlers.values()):
                if handler.synced and self.tick > handler.heard_tick + sync_limit:
                    handler.give_up(f"not heard of for {sync_limit} ticks")

    # Handshake and synchronisation

    async def epoch_to_propose(self, sid: int, accepted_epoch: int) -> int:
        """The epoch this peer follows in."""
        await trio.lowlevel.checkpoint()
        if accepted_epoch > self._epoch:
            raise PeerProtocolError(f"observer {sid} accepted epoch {accepted_epoch}, here it is {self._epoch}")
        return self._epoch

    async def epoch_acked(self, sid: int, current_epoch: int, last_zxid: int) -> None:
        """Turn away an observer that another master has told more.

        Cutting its log would take back what its clients have seen. Of the present epoch it was told committed
        transactions only, and those come here soon; what it has of older epochs and we have not was never committed.
        """
        await trio.lowlevel.checkpoint()
        mine = max(self.peer.db.last_zxid, self._epoch << 32)
        if last_zxid > mine and last_zxid >> 32 == self._epoch:
            raise LinkClosed(f"observer {sid} is at {last_zxid:#x}, here it is only {mine:#x}")

    async def synchronise(self, handler: LearnerHandler, learner_zxid: int) -> None:
        """Bring an observer up to what is committed now, then to what was committed meanwhile."""
        db = self.peer.db
        disk = await disk_records(db, learner_zxid, self.peer.config.snapshot_size_factor)
        # Nothing waits between planning and retaining, nor between forwarding and queueing: so there is no gap.
        plan = plan_history(db, learner_zxid, disk, self._epoch << 32)
        self.feed.expect(handler.sid)
        self._wanted.set()
        await handler.send_history(plan, learner_zxid)
        if not self.feed.forward_to(handler.sid, handler.outbox, plan.current):
            raise LinkClosed("more was committed meanwhile than is kept for observers")

    async def new_leader_acked(self, handler: LearnerHandler, zxid: int) -> None:
        """This peer serves, so the observer may."""
        await trio.lowlevel.checkpoint()
        if zxid != self._epoch << 32:
            raise PeerProtocolError(f"observer {handler.sid} acknowledged {zxid:#x} in epoch {self._epoch}")
        handler.heard_tick = self.tick

    # What observers send

    def acked(self, handler: LearnerHandler, zxid: int) -> None:
        """Observers acknowledge no transactions."""
        raise PeerProtocolError(f"observer {handler.sid} acknowledged {zxid:#x}")

    def taker(self, handler: LearnerHandler) -> Callable[[WriteRequest], None]:
        """What takes the writes of an observer's clients."""
        return self.feed.submit

    def sync(self, handler: LearnerHandler, session: int, cxid: int, body: bytes) -> None:
        """An observer's client asks for a sync."""
        self.feed.sync(handler.outbox, session, cxid, body)

    def revalidate(self, handler: LearnerHandler, session: int, timeout_ms: int) -> None:
        """A client brought a session to an observer."""
        self.feed.revalidate(handler.outbox, handler.owner, session, timeout_ms)

    def forget(self, sid: int) -> None:
        """An observer has no link any more."""
        self.feed.forget(sid)
