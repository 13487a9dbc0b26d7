"""Election links: one to each other peer, for the peer's whole life (quorum-protocol §3).

Each peer has a task that dials when there is something to say and no link, so a dead peer delays nobody. What is to be
sent waits in a queue of one: only the newest vote matters. A link resends the last message first, because nobody knows
whether the link before it delivered it.

Who is called and listened to changes with the membership. A peer that nobody listed is a guest: it may want to join, so
it is heard and answered while its link lasts, if guests are admitted at all.
"""

import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Final

import trio

from trioquorum.errors import ConfigError, LinkClosed, PeerProtocolError
from trioquorum.events import Events, FrameDropped, LinkDown, LinkRefused, LinkUp, PortBlocked
from trioquorum.limits import Limits
from trioquorum.peer.mesh_peer import MeshPeer
from trioquorum.transport import Address, Link, Listener, Transports
from trioquorum.wire.election import (
    Hello,
    Notification,
    decode_hello,
    decode_notification,
    encode_hello,
    encode_notification,
)
from trioquorum.zab.mesh import Verdict, is_dead, judge_incoming, keeps_dialled
from trioquorum.zab.reconfig import SID_MAX

KIND: Final = "election"
PROTOCOL: Final = 1
HELLO_BYTES_MAX: Final = 2048
WILDCARDS: Final = frozenset(("0.0.0.0", "::"))
LISTEN_RETRY_S: Final = 1.0


class ElectionMesh:
    """Notifications to and from every other peer in ``addresses``.

    ``my_address`` is where we listen, ``addresses`` where the others do; an entry for ourselves is ignored.
    ``connect_timeout_ms`` bounds one dial. ``rng`` spreads redials. Without ``guests`` who is not listed is refused.
    ``on_link_up`` and ``on_link_down`` are told of whom there is a link to, and of whom no more.
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
        *,
        guests: bool = False,
    ) -> None:
        self._my_id = my_id
        self._my_address = my_address
        self._transports = transports
        self._limits = limits
        self._events = events
        self._connect_timeout_s = connect_timeout_ms / 1000
        self._handshake_timeout_s = limits.handshake_timeout_ms / 1000
        self._rng = rng
        self._guests = guests
        self.on_link_up: Callable[[int], None] = _unheeded
        self.on_link_down: Callable[[int], None] = _unheeded
        self._hello = self._introduce()
        self._peers = {sid: MeshPeer(sid, address) for sid, address in addresses.items() if sid != my_id}
        self._inbox: deque[tuple[int, Notification]] = deque(maxlen=limits.election_inbox_max)
        self._arrived = trio.lowlevel.ParkingLot()
        self._greeting: dict[trio.CancelScope, None] = {}
        self._nursery: trio.Nursery | None = None
        self._listening = trio.CancelScope()

    def _introduce(self) -> bytes:
        return encode_hello(Hello(sid=self._my_id, address=str(self._my_address), protocol=PROTOCOL))

    def set_members(self, addresses: Mapping[int, Address]) -> None:
        """From now on these are the other peers; links to those that are gone end, others stay."""
        for sid, peer in list(self._peers.items()):
            if sid in addresses:
                peer.guest = False
                peer.address = addresses[sid]
            elif not peer.guest:
                self._remove(peer, "it left the ensemble")
        for sid, address in addresses.items():
            if sid != self._my_id and sid not in self._peers:
                self._add(MeshPeer(sid, address))

    def set_my_address(self, address: Address) -> None:
        """Listen at ``address`` from now on; links live on."""
        if address != self._my_address:
            self._my_address = address
            self._hello = self._introduce()
            self._listening.cancel(reason="the election address changed")

    def _add(self, peer: MeshPeer) -> None:
        self._peers[peer.sid] = peer
        if self._nursery is not None:
            self._nursery.start_soon(self._keep_dialling, peer, name=f"election link to {peer.sid}")

    def _remove(self, peer: MeshPeer, reason: str) -> None:
        del self._peers[peer.sid]
        peer.end_link(reason)
        peer.life.cancel(reason=reason)

    def send(self, sid: int, note: Notification) -> None:
        """Queue ``note`` for ``sid`` in place of what still waits; dials if there is no link. Who is gone gets none."""
        peer = self._peers.get(sid)
        if peer is not None:
            peer.put(encode_notification(note))

    def send_again(self, sid: int, note: Notification) -> None:
        """``send`` to a peer that should have been heard by now; a link that has proved dead gives way to a new one."""
        peer = self._peers.get(sid)
        if peer is not None:
            if peer.scope is not None and is_dead(peer.silent_resends, link_is_young=peer.link_is_young):
                peer.end_link(f"nothing came back, though we sent again {peer.silent_resends} times")
                peer.call()
            peer.silent_resends += 1
            peer.put(encode_notification(note))

    def connect_all(self) -> None:
        """Dial every peer without a link now."""
        for peer in self._peers.values():
            if not peer.guest:
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
        try:
            listener = await self._listen()
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), str(self._my_address)) from None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for peer in self._peers.values():
                nursery.start_soon(self._keep_dialling, peer, name=f"election link to {peer.sid}")
            task_status.started()
            try:
                while True:
                    with trio.CancelScope() as self._listening:
                        async with aclosing(listener):
                            await self._accept(listener, nursery)
                    listener = await self._listen_again()
            finally:
                # The membership may change until the last moment; nobody is dialled any more.
                self._nursery = None

    async def _listen(self) -> Listener:
        transport = self._transports[self._my_address.scheme]
        return await transport.listen(self._my_address, frame_bytes_max=self._limits.election_frame_bytes_max)

    async def _listen_again(self) -> Listener:
        """At an address that the ensemble gave us while we run: it may be taken, until somebody frees it."""
        while True:
            try:
                return await self._listen()
            except OSError as error:
                reason = error.strerror or str(error)
                self._events.emit(PortBlocked(kind=KIND, address=str(self._my_address), reason=reason))
            await trio.sleep(LISTEN_RETRY_S)

    async def _accept(self, listener: Listener, nursery: trio.Nursery) -> None:
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

    async def _keep_dialling(self, peer: MeshPeer) -> None:
        with peer.life:
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

    async def _dial(self, peer: MeshPeer) -> None:
        """One attempt; a link that stays is served to its end."""
        address = peer.take_address()
        transport = self._transports[address.scheme]
        try:
            with trio.fail_after(self._connect_timeout_s):
                link = await transport.connect(address, frame_bytes_max=self._limits.election_frame_bytes_max)
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
            peer = self._peers.get(hello.sid) or self._admit(hello)
            young = peer is not None and peer.link_is_young
            verdict = judge_incoming(self._my_id, hello.sid, self._peers, link_is_young=young)
            if peer is None:
                self._refuse(link, f"peer {hello.sid}: {verdict.value}")
            elif verdict is Verdict.KEEP:
                await self._serve(peer, link)
            elif verdict is Verdict.CALL_BACK:
                peer.end_link("the other end has no link any more")
                peer.call(self._named_address(hello))

    def _admit(self, hello: Hello) -> MeshPeer | None:
        """A peer that is not listed becomes a guest; the one that has been without a link longest makes room."""
        if not self._guests or hello.sid == self._my_id or not 0 <= hello.sid <= SID_MAX:
            return None
        guests = [peer for peer in self._peers.values() if peer.guest]
        if len(guests) >= self._limits.election_guests_max:
            idle = next((peer for peer in guests if peer.scope is None), None)
            if idle is None:
                return None
            self._remove(idle, "another guest came")
        address = self._named_address(hello)
        if address is None:
            return None
        guest = MeshPeer(hello.sid, address, guest=True)
        self._add(guest)
        return guest

    def _named_address(self, hello: Hello) -> Address | None:
        """Where the caller says that it listens, if that can be dialled."""
        try:
            address = Address.parse(hello.address)
            self._transports[address.scheme]
        except ConfigError:
            return None
        return None if address.host in WILDCARDS else address

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

    async def _serve(self, peer: MeshPeer, link: Link, hello: bytes | None = None) -> None:
        """Carry notifications until the link ends or another one takes its place."""
        peer.end_link("a newer link took its place")
        with trio.CancelScope() as scope:
            peer.link_up(scope)
            self._events.emit(LinkUp(kind=KIND, peer=peer.sid, address=link.remote))
            self.on_link_up(peer.sid)
            reason = "we stop"
            try:
                reason = await self._carry(peer, link, hello)
            finally:
                self._events.emit(LinkDown(kind=KIND, peer=peer.sid, reason=peer.link_down(scope, reason)))
        if peer.scope is None:
            self.on_link_down(peer.sid)

    async def _carry(self, peer: MeshPeer, link: Link, hello: bytes | None) -> str:
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

    async def _send_queued(self, peer: MeshPeer, link: Link, hello: bytes | None) -> None:
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

    async def _receive(self, peer: MeshPeer, link: Link) -> None:
        while True:
            frame = await link.receive()
            peer.silent_resends = 0
            try:
                note = decode_notification(frame)
            except PeerProtocolError as error:
                self._events.emit(FrameDropped(kind=KIND, peer=peer.sid, reason=str(error)))
                continue
            self._inbox.append((peer.sid, note))
            self._arrived.unpark_all()


def _unheeded(sid: int) -> None:
    """Nobody wants to know."""
    del sid


def _introduction(frame: bytes) -> Hello:
    if len(frame) > HELLO_BYTES_MAX:
        raise PeerProtocolError(f"an introduction of {len(frame)} bytes")
    hello = decode_hello(frame)
    if hello.protocol != PROTOCOL:
        raise PeerProtocolError(f"protocol {hello.protocol}, we speak {PROTOCOL}")
    return hello
