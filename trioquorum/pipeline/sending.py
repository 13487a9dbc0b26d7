"""Packets on their way to learners."""

from collections.abc import Iterable
from typing import Protocol

from trioquorum.wire.quorum import QuorumPacket, encode_frames

FRAME_BYTES = 4 << 20


class Outbox(Protocol):
    """Where a learner's frames are queued."""

    def put(self, frame: bytes) -> None:
        """Queue one encoded frame; never waits."""


def send_packets(packets: list[QuorumPacket], outboxes: Iterable[Outbox]) -> None:
    """Queue packets for each of ``outboxes``, encoded once."""
    for frame in encode_frames(packets, FRAME_BYTES):
        for outbox in outboxes:
            outbox.put(frame)
