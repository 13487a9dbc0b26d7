"""A guest of an ensemble: joins its leader as an observer that nobody counts, takes the whole tree, leaves.

The leader sends its tree while it goes on changing, and every transaction that it commits meanwhile behind it; once it
has said NEWLEADER, all of those have arrived whose changes the tree may hold in part. Applied in order they make it
exactly the tree behind the last of them. A guest waits for UPTODATE too: only a leader that a quorum follows sends
that, so nothing of what was taken can be undone later. It writes nothing into the ensemble and keeps nothing.

Who was the leader a moment ago and does not know yet that it is not any more may still be asked; the copy is then one
of that moment, as exact as any.
"""

import random
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import trio

from trioquorum.errors import ConnectFailed, CorruptSnapshot, LinkClosed, PeerProtocolError
from trioquorum.storage.snapshot import SnapshotParser
from trioquorum.transport import Address, Link, Transports
from trioquorum.tree.nodes import DataTree, NewTree
from trioquorum.wire.quorum import decode_packets, encode_packets
from trioquorum.wire.txn import decode_txn
from trioquorum.zab import learner_effects as effects
from trioquorum.zab.learner import Learner

GUEST_IDS: Final = range(1 << 32, (1 << 32) + (1 << 16))
"""Above every id that a member may have. Two guests of the same id would turn each other out, so it is drawn."""

CONNECT_LIMIT_S: Final = 5.0
RETRY_S: Final = 0.25
PARSE_BYTES: Final = 32 << 10
TXNS_PER_CHECKPOINT: Final = 128


class Copy(msgspec.Struct, kw_only=True):
    """The tree of an ensemble as it was behind ``tree.last_zxid``, committed by the leader of ``epoch`` at ``source``.

    ``txns`` were committed while it was sent.
    """

    tree: DataTree
    epoch: int
    source: str
    txns: int


async def copy_tree(
    addresses: Sequence[Address],
    transports: Transports,
    rng: random.Random,
    *,
    frame_bytes_max: int,
    patience_s: float,
    silence_s: float,
    received: Callable[[int], object] = lambda _: None,
    new_tree: NewTree = DataTree,
) -> Copy:
    """Copy the tree from whoever of the quorum ``addresses`` leads; only leaders listen there.

    Goes round until ``patience_s`` are over: there may be an election, or no room for one more learner. A leader that
    says nothing for ``silence_s`` is left. ``received`` is told of every so many bytes.

    Raises:
        ConnectFailed: nobody led, or nobody could be copied from; says why.
    """
    give_up_at = trio.current_time() + patience_s
    reasons: dict[Address, str] = {}
    while True:
        for address in addresses:
            try:
                return await _visit(address, transports, rng, frame_bytes_max, silence_s, received, new_tree)
            except (LinkClosed, PeerProtocolError) as error:
                reasons[address] = str(error)
        if trio.current_time() >= give_up_at:
            told = "; ".join(f"{address}: {reason}" for address, reason in reasons.items())
            raise ConnectFailed(f"no leader gave its tree ({told or 'nobody to ask'})")
        await trio.sleep(RETRY_S)


async def _visit(
    address: Address,
    transports: Transports,
    rng: random.Random,
    frame_bytes_max: int,
    silence_s: float,
    received: Callable[[int], object],
    new_tree: NewTree,
) -> Copy:
    with trio.move_on_after(CONNECT_LIMIT_S) as limit:
        link = await transports[address.scheme].connect(address, frame_bytes_max=frame_bytes_max)
    if limit.cancelled_caught:
        raise ConnectFailed("does not answer")
    try:
        return await Guest(link, rng.choice(GUEST_IDS), silence_s, received, new_tree).copy(str(address))
    finally:
        await link.aclose()


class Guest:
    """One visit over one ``link``; the caller closes it."""

    def __init__(
        self,
        link: Link,
        guest_id: int,
        silence_s: float,
        received: Callable[[int], object] = lambda _: None,
        new_tree: NewTree = DataTree,
    ) -> None:
        # −1 as the current epoch says "do not count me", −1 as the last zxid that only a snapshot helps.
        self._machine = Learner(
            guest_id, observer=True, accepted_epoch=0, current_epoch=-1, last_zxid=-1, config_version=0
        )
        self._link = link
        self._silence_s = silence_s
        self._received = received
        self._tree = new_tree()
        self._txns = 0

    async def copy(self, source: str) -> Copy:
        """Stay until the tree is exact and known to be committed.

        Raises:
            LinkClosed: the leader is gone, silent, or has no room.
            PeerProtocolError: what it sent makes no sense.
        """
        machine = self._machine
        await self._link.send(encode_packets([machine.first_packet()]))
        while not machine.serving:
            frame = await self._receive()
            self._received(len(frame))
            for effect in machine.receive_batch(decode_packets(frame)):
                await self._carry_out(effect)
        return Copy(tree=self._tree, epoch=machine.epoch, source=source, txns=self._txns)

    async def _receive(self) -> bytes:
        with trio.move_on_after(self._silence_s):
            return await self._link.receive()
        raise LinkClosed(f"said nothing for {self._silence_s:.0f} s")

    async def _carry_out(self, effect: effects.Effect) -> None:
        """Of what a learner does for its disk, its membership and its clients, a guest does nothing."""
        match effect:
            case effects.SendPacket(packet):
                await self._link.send(encode_packets([packet]))
            case effects.LoadSnapshot(zxid):
                await self._load(zxid)
                self._machine.snapshot_loaded()
            case effects.Commit(records):
                await self._apply([payload for _, payload in records])
            case effects.Activate(_, _, payload) if payload is not None:
                await self._apply([payload])
            case effects.Truncate():
                raise PeerProtocolError("a learner without any history was told to cut it")
            case _:
                await trio.lowlevel.checkpoint()

    async def _load(self, zxid: int) -> None:
        """The snapshot that is announced as of ``zxid``."""
        parser = SnapshotParser(self._tree, body=True)
        try:
            while chunk := await self._receive():
                self._received(len(chunk))
                for at in range(0, len(chunk), PARSE_BYTES):
                    parser.feed(chunk[at : at + PARSE_BYTES])
                    await trio.lowlevel.checkpoint()
            parser.finish()
        except CorruptSnapshot as error:
            raise PeerProtocolError(f"the leader's snapshot is damaged: {error}") from None
        self._tree.last_zxid = zxid

    async def _apply(self, payloads: Sequence[bytes]) -> None:
        for payload in payloads:
            self._tree.apply(decode_txn(payload))
            self._txns += 1
            if self._txns % TXNS_PER_CHECKPOINT == 0:
                await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
