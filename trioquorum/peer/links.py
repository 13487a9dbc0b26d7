"""Election links: one to each other peer, for the peer's whole life (quorum-protocol §3).

Each peer has a task that dials when there is something to say and no link, so a dead peer delays nobody. What is to be
sent waits in a queue of one: only the newest vote matters. A link resends the last message first, because nobody knows
whether the link before it delivered it.
"""

import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Final

import trio

from trioquorum.errors import LinkClosed, PeerProtocolError
from trioquorum.events import Events, FrameDropped, LinkDown, LinkRefused, LinkUp
from trioquorum.limits import Limits
from trioquorum.transport import Address, Link, Transports
from trioquorum.wire.election import (
    Hello,
    Notification,
    decode_hello,
    decode_notification,
    encode_hello,
    encode_notification,
)
from trioquorum.zab.mesh import Verdict, judge_incoming, keeps_dialled

KIND: Final = "election"
PROTOCOL: Final = 1
HELLO_BYTES_MAX: Final = 2048
YOUNG_LINK_S: Final = 1.0
"""A link that held this long was good: when it ends we dial again at once, and a call while it seems up means it is
dead. A younger one may have crossed the call."""


class _Peer:
    """What we know of another peer: its link, what waits for it, when to dial it. ``changed`` wakes who waits on it."""

    def __init__(self, sid: int, address: Address) -> None:
        self.sid = sid
        self.address = address
        self.waiting: bytes | None = None
        self.last: bytes | None = None
        self.call_now = False
        self.failures = 0  # dials since a link last held
        self.changed = trio.lowlevel.ParkingLot()
        self.scope: trio.CancelScope | None = None  # of its link
        self.up_since = 0.0
        self.end_reason = ""

    @property
    def wants_link(self) -> bool:
        return self.scope is None and (self.call_now or self.waiting is not None)

    @property
    def link_is_young(self) -> bool:
        return self.scope is not None and trio.current_time() - self.up_since < YOUNG_LINK_S

    def put(self, frame: bytes) -> None:
        self.waiting = frame
        self.changed.unpark_all()

    def call(self) -> None:
        """Dial without waiting for the backoff, if there is no link."""
        self.call_now = True
        self.failures = 0
        self.changed.unpark_all()

    def link_up(self, scope: trio.CancelScope) -> None:
        self.scope = scope
        self.up_since = trio.current_time()
        self.call_now = False
        if self.waiting is None:
            self.waiting = self.last

    def end_link(self, reason: str) -> None:
        if self.scope is not None:
            self.end_reason = reason
            self.scope.cancel(reason=reason)
            self.scope = None

    def link_down(self, scope: trio.CancelScope, reason: str) -> str:
        """The link of ``scope`` is gone; returns why, in the words of whoever ended it."""
        if self.scope is not scope:
            return self.end_reason
        self.scope = None
        if trio.current_time() - self.up_since >= YOUNG_LINK_S:
            self.failures = 0
        self.changed.unpark_all()
        return reason


class ElectionMesh:
    """Notifications to and from every other peer in ``addresses``.

    ``my_address`` is where we listen, ``addresses`` where the others do; an entry for ourselves is ignored.
    ``connect_timeout_ms`` bounds one dial. ``rng`` spreads redials.
    """

    def __init__(
        self,
        my_id: int,
        addresses: Mapping[int, Address],
        my_address: Address,
        transports: Transports,
        limits: Limits,
        events: Events,
        connect_timeout_ms: int,
        rng: random.Random,
    ) -> None:
        self._my_id = my_id
        self._my_address = my_address
        self._transports = transports
        self._limits = limits
        self._events = events
        self._connect_timeout_s = connect_timeout_ms / 1000
        self._handshake_timeout_s = limits.handshake_timeout_ms / 1000
        self._rng = rng
        self._hello = encode_hello(Hello(sid=my_id, address=str(my_address), protocol=PROTOCOL))
        self._peers = {sid: _Peer(sid, address) for sid, address in addresses.items() if sid != my_id}
        self._inbox: deque[tuple[int, Notification]] = deque(maxlen=limits.election_inbox_max)
        self._arrived = trio.lowlevel.ParkingLot()
        self._greeting: dict[trio.CancelScope, None] = {}

    def send(self, sid: int, note: Notification) -> None:
        """Queue ``note`` for ``sid``, one of ``addresses``, in place of what still waits; dials if there is no link."""
        self._peers[sid].put(encode_notification(note))

    def connect_all(self) -> None:
        """Dial every peer without a link now."""
        for peer in self._peers.values():
            peer.call()

    def any_queue_idle(self) -> bool:
        """Whether nothing waits for some peer, so that sending again reaches somebody. True when we are alone."""
        return not self._peers or any(peer.waiting is None for peer in self._peers.values())

    async def receive(self) -> tuple[int, Notification]:
        """The next notification and who sent it. What is not taken gives way to what is newer."""
        await trio.lowlevel.checkpoint()
        while not self._inbox:
            await self._arrived.park()
        return self._inbox.popleft()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen, dial and carry notifications until cancelled; started once the address is bound.

        Raises:
            OSError: our address cannot be bound; ``filename`` holds it.
            LinkClosed: (in a group) the listening socket broke.
        """
        transport = self._transports[self._my_address.scheme]
        try:
            listener = await transport.listen(self._my_address, frame_bytes_max=self._limits.election_frame_bytes_max)
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), str(self._my_address)) from None
        async with aclosing(listener), trio.open_nursery() as nursery:
            for peer in self._peers.values():
                nursery.start_soon(self._keep_dialling, peer, name=f"election link to {peer.sid}")
            task_status.started()
            while True:
                link = await listener.accept()
                if len(self._greeting) >= self._limits.handshake_links_max:
                    # A peer says at once who it is: who has been silent longest is the least likely to be one.
                    longest = next(iter(self._greeting))
                    del self._greeting[longest]
                    longest.cancel(reason="others call")
                patience = trio.CancelScope(deadline=trio.current_time() + self._handshake_timeout_s)
                self._greeting[patience] = None
                nursery.start_soon(self._answer, link, patience, name=f"election link from {link.remote}")

    # -- we dial ---------------------------------------------------------------------------------------------------

    async def _keep_dialling(self, peer: _Peer) -> None:
        while True:
            while not peer.wants_link:
                await peer.changed.park()
            peer.call_now = False
            peer.failures += 1
            await self._dial(peer)
            with trio.move_on_after(self._pause_s(peer.failures)):
                await trio.lowlevel.checkpoint()
                while not (peer.call_now and peer.wants_link):
                    await peer.changed.park()

    def _pause_s(self, failures: int) -> float:
        """Doubles with each failure; jitter keeps peers that lost each other from dialling in step."""
        if failures == 0:
            return 0.0
        longest_ms = min(self._limits.redial_ms_min << min(failures - 1, 20), self._limits.redial_ms_max)
        return longest_ms * (0.5 + self._rng.random() / 2) / 1000

    async def _dial(self, peer: _Peer) -> None:
        """One attempt; a link that stays is served to its end."""
        transport = self._transports[peer.address.scheme]
        try:
            with trio.fail_after(self._connect_timeout_s):
                link = await transport.connect(peer.address, frame_bytes_max=self._limits.election_frame_bytes_max)
        except (LinkClosed, trio.TooSlowError):
            await trio.lowlevel.checkpoint()
            return  # Normal: the peer may be down for days.
        async with aclosing(link):
            if keeps_dialled(self._my_id, peer.sid):
                await self._serve(peer, link, self._hello)
            else:
                await self._ask_to_be_called(link)

    async def _ask_to_be_called(self, link: Link) -> None:
        """Say who we are and wait until the other end closes, as it does when it has read that."""
        with trio.move_on_after(self._handshake_timeout_s):
            await trio.lowlevel.checkpoint()
            try:
                await link.send(self._hello)
                await link.receive()
            except (LinkClosed, PeerProtocolError):
                return

    # -- we are dialled --------------------------------------------------------------------------------------------

    async def _answer(self, link: Link, patience: trio.CancelScope) -> None:
        async with aclosing(link):
            try:
                hello = await self._first_frame(link, patience)
            finally:
                self._greeting.pop(patience, None)
            if hello is None:
                return
            peer = self._peers.get(hello.sid)
            young = peer is not None and peer.link_is_young
            verdict = judge_incoming(self._my_id, hello.sid, self._peers, link_is_young=young)
            if peer is None:
                self._refuse(link, f"peer {hello.sid}: {verdict.value}")
            elif verdict is Verdict.KEEP:
                await self._serve(peer, link)
            elif verdict is Verdict.CALL_BACK:
                peer.end_link("the other end has no link any more")
                peer.call()

    async def _first_frame(self, link: Link, patience: trio.CancelScope) -> Hello | None:
        with patience:
            await trio.lowlevel.checkpoint()
            try:
                return _introduction(await link.receive())
            except (LinkClosed, PeerProtocolError) as error:
                self._refuse(link, str(error))
                return None
        waits = patience in self._greeting
        self._refuse(link, "it does not say who it is" if waits else "too many callers have not said who they are")
        return None

    def _refuse(self, link: Link, reason: str) -> None:
        self._events.emit(LinkRefused(kind=KIND, address=link.remote, reason=reason))

    # -- a link ----------------------------------------------------------------------------------------------------

    async def _serve(self, peer: _Peer, link: Link, hello: bytes | None = None) -> None:
        """Carry notifications until the link ends or another one takes its place."""
        peer.end_link("a newer link took its place")
        with trio.CancelScope() as scope:
            peer.link_up(scope)
            self._events.emit(LinkUp(kind=KIND, peer=peer.sid, address=link.remote))
            reason = "we stop"
            try:
                reason = await self._carry(peer, link, hello)
            finally:
                self._events.emit(LinkDown(kind=KIND, peer=peer.sid, reason=peer.link_down(scope, reason)))

    async def _carry(self, peer: _Peer, link: Link, hello: bytes | None) -> str:
        """Send and receive; returns why one of them could not go on."""
        reasons: list[str] = []

        async def until_closed(work: Callable[[], Awaitable[None]]) -> None:
            await trio.lowlevel.checkpoint()
            try:
                await work()
            except (LinkClosed, PeerProtocolError) as error:
                reasons.append(str(error))
                nursery.cancel_scope.cancel(reason="the link ended")

        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_closed, partial(self._send_queued, peer, link, hello))
            nursery.start_soon(until_closed, partial(self._receive, peer, link))
        return reasons[0]

    async def _send_queued(self, peer: _Peer, link: Link, hello: bytes | None) -> None:
        if hello is not None:
            await link.send(hello)
        while True:
            while peer.waiting is None:
                await peer.changed.park()
            peer.last, peer.waiting = peer.waiting, None
            try:
                await link.send(peer.last)
            except LinkClosed:
                if peer.waiting is None:
                    peer.waiting = peer.last
                raise

    async def _receive(self, peer: _Peer, link: Link) -> None:
        while True:
            frame = await link.receive()
            try:
                note = decode_notification(frame)
            except PeerProtocolError as error:
                self._events.emit(FrameDropped(kind=KIND, peer=peer.sid, reason=str(error)))
                continue
            self._inbox.append((peer.sid, note))
            self._arrived.unpark_all()


def _introduction(frame: bytes) -> Hello:
    if len(frame) > HELLO_BYTES_MAX:
        raise PeerProtocolError(f"an introduction of {len(frame)} bytes")
    hello = decode_hello(frame)
    if hello.protocol != PROTOCOL:
        raise PeerProtocolError(f"protocol {hello.protocol}, we speak {PROTOCOL}")
    return hello
