"""What the memory transport's links are made of: paths with faults, pipes of frames in flight, wires of two pipes.

Nothing runs in the background: each frame is stamped with the moment it is due and its receiver sleeps until then, so
that order depends on the Trio schedule alone and everything works under a mock clock.
"""

import math
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec
import trio

BUFFER_BYTES_MAX: Final = 1 << 20  # sent and not received, one direction of a link; a larger frame goes alone
BUFFER_FRAMES_MAX: Final = 1024

Tap = Callable[[tuple[str, str], int, bool, bytes, int], None]
"""(nodes of dialler and listener, port of the listener, whether the dialler sends, frame, number of the link)."""


class Path(msgspec.Struct):
    """Faults on the way from one node to another."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    random: Random | None = None
    cut: bool = False
    bytes_per_s: float = math.inf
    free_at_s: float = 0.0  # when all that was sent has left the sender
    break_rate: float = 0.0
    breaks: Random | None = None
    stream_ports: frozenset[int] = frozenset()

    def arrival_s(self, size: int) -> float:
        """When a frame of ``size`` bytes that is sent now arrives; those behind it wait until it has left."""
        now = trio.current_time()
        if size and self.bytes_per_s < math.inf:
            now = self.free_at_s = max(now, self.free_at_s) + size / self.bytes_per_s
        return now + self.latency_s()

    def latency_s(self) -> float:
        """How long the next frame takes."""
        return self.delay_s + (self.random.uniform(0.0, self.jitter_s) if self.random else 0.0)


class Pipe:
    """One direction of a link: what is in flight, and what has arrived at the receiving end."""

    def __init__(self, path: Path) -> None:
        self.arrived: deque[bytes] = deque()
        self.ended = ""  # why nothing more will arrive
        self.sender = trio.lowlevel.ParkingLot()
        self.receiver = trio.lowlevel.ParkingLot()
        self.stalled = False
        self._path = path
        self._last_words = "closed by the other end"
        self._flight: deque[tuple[float, bytes | None]] = deque()  # when due, and the frame; None closes
        self._bytes = 0  # in flight and arrived

    def has_room(self, size: int) -> bool:
        """True when a frame of ``size`` bytes may be put."""
        frames = len(self._flight) + len(self.arrived)
        return frames == 0 or (frames < BUFFER_FRAMES_MAX and self._bytes + size <= BUFFER_BYTES_MAX)

    def put(self, frame: bytes | None) -> None:
        """Send a frame off, or the close; it waits behind what was sent before, however fast it is itself."""
        self._flight.append((self._path.arrival_s(len(frame or b"")), frame))
        self._bytes += len(frame or b"")
        self.receiver.unpark_all()

    def breaks_link(self) -> bool:
        """Whether the next frame is one that does not arrive."""
        path = self._path
        return path.breaks is not None and path.breaks.random() < path.break_rate

    def put_start(self, frame: bytes, port: int) -> None:
        """Send off what arrives of a frame in which the link breaks: of a stream its first bytes, else nothing."""
        path = self._path
        if path.breaks is not None and port in path.stream_ports and (kept := path.breaks.randrange(len(frame) or 1)):
            self.put(frame[:kept])
        self._last_words = "the link broke"
        self.put(None)

    def take(self) -> bytes:
        """The oldest frame that has arrived."""
        frame = self.arrived.popleft()
        self._bytes -= len(frame)
        self.sender.unpark_all()
        return frame

    def settle(self) -> float:
        """Let arrive what is due; returns when the next frame is due, ``inf`` when nothing comes by itself."""
        if self._path.cut or self.stalled:
            return math.inf
        now = trio.current_time()
        while self._flight:
            due, frame = self._flight[0]
            if due > now:
                return due
            self._flight.popleft()
            if frame is None:
                self.ended = self.ended or self._last_words
            else:
                self.arrived.append(frame)
        return math.inf

    def end(self, reason: str) -> None:
        """What has arrived stays readable, what is in flight is lost."""
        self.settle()
        self._flight.clear()
        self.ended = self.ended or reason

    def wake(self) -> None:
        """Let who waits at either end look again."""
        self.sender.unpark_all()
        self.receiver.unpark_all()


class Wire:
    """Both directions of a link between two nodes; ``wires`` holds it until no fault can concern it any more."""

    def __init__(
        self,
        wires: "dict[Wire, None]",
        nodes: tuple[str, str],
        there: Path,
        back: Path,
        port: int = 0,
        tap: Tap | None = None,
        number: int = 0,
    ) -> None:
        self.nodes = nodes
        self.number = number
        self.port = port
        self.tap = tap
        self.there = Pipe(there)
        self.back = Pipe(back)
        self._wires = wires
        self._open_ends = 2
        wires[self] = None

    def joins(self, a: str, b: str) -> bool:
        """True for a link between these two, whoever dialled."""
        return self.nodes in {(a, b), (b, a)}

    def settle(self) -> None:
        """Let arrive what is due, both ways."""
        self.there.settle()
        self.back.settle()

    def stall(self) -> None:
        """Let nothing more arrive, in either direction, closes included."""
        self.settle()
        self.there.stalled = self.back.stalled = True

    def wake(self) -> None:
        """Let everyone who waits on the link look again."""
        self.there.wake()
        self.back.wake()

    def put(self, pipe: Pipe, frame: bytes) -> None:
        """Send a frame off in one direction, unless it is one in which the link breaks."""
        if not pipe.breaks_link():
            pipe.put(frame)
            return
        # The receiver learns of it when what was sent before has arrived, the sender at once.
        pipe.put_start(frame, self.port)
        (self.back if pipe is self.there else self.there).end("the link broke")
        self.wake()

    def end_closed(self) -> None:
        """One of the two ends was closed."""
        self._open_ends -= 1
        if not self._open_ends:
            self._wires.pop(self, None)
        self.wake()

    def break_off(self, reason: str) -> None:
        """End the link for both ends at once."""
        self.there.end(reason)
        self.back.end(reason)
        self._wires.pop(self, None)
        self.wake()
