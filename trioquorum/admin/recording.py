"""Recordings that the page opens: the frames of a feed in a file, from a page or from a simulation."""

from typing import Any, BinaryIO, Final

import msgspec

from trioquorum.admin.feed import EventFrame, MemberInfo, encode
from trioquorum.events import Event

RECORDING_VERSION: Final = 1
EVENTS_MAX: Final = 2_000_000
"""Events of one recording; what comes later is left out and counted."""

US_PER_S: Final = 1_000_000
MS_PER_S: Final = 1000


class RecordingHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first object of a recording: a file of msgpack objects, one behind the other.

    Then come ``RecordedFrame`` in the order of their time, for each peer first a ``Snapshot`` if there was one.
    ``kind`` is live or simulation; in a simulation times are virtual, from 0, and peer 0 is who strikes.
    """

    recording: int
    kind: str
    title: str
    members: list[MemberInfo]


class RecordedFrame(msgspec.Struct, frozen=True, array_like=True):
    """One frame of a recording, ``[peer, frame]``."""

    peer: int
    frame: Any


class Recorder:
    """Writes a recording of a simulation: ``add`` takes events as they come.

    Times are virtual: ``wall_ms`` is from 0, and so is ``mono_us`` of every peer. Batches of transactions are in it.
    """

    def __init__(self, file: BinaryIO, title: str, members: list[MemberInfo]) -> None:
        self.left_out = 0
        """Events for which there was no room."""
        self._file = file
        self._count = 0
        head = RecordingHead(recording=RECORDING_VERSION, kind="simulation", title=title, members=members)
        file.write(encode(head))

    def add(self, time_s: float, peer: int, event: Event) -> None:
        """An event of ``peer``, or of nobody (0)."""
        if self._count >= EVENTS_MAX:
            self.left_out += 1
            return
        frame = EventFrame(seq=self._count, wall_ms=int(time_s * MS_PER_S), mono_us=int(time_s * US_PER_S), fact=event)
        self._count += 1
        self._file.write(encode(RecordedFrame(peer, frame)))
