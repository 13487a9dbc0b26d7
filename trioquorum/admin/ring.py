"""What is kept of the past, in a bounded number of bytes: encoded frames with the moment they are from."""

from collections import deque
from collections.abc import Iterator

import msgspec


class Kept(msgspec.Struct, frozen=True, gc=False):
    """An encoded frame, its moment on the clock, and its number (-1 where they have none)."""

    at_s: float
    seq: int
    data: bytes


class Ring:
    """The newest frames: no more than ``items_max``, ``bytes_max`` together, and none older than ``kept_s``."""

    def __init__(self, items_max: int, bytes_max: int, kept_s: float | None = None) -> None:
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._kept_s = kept_s
        self._items: deque[Kept] = deque()
        self._bytes = 0
        self.lost_seq = -1
        """The number of the last event that is not kept any more."""

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size_bytes(self) -> int:
        """What is kept."""
        return self._bytes

    def add(self, item: Kept) -> None:
        """Keep one more; the oldest give way."""
        self._items.append(item)
        self._bytes += len(item.data)
        while self._bytes > self._bytes_max or len(self._items) > self._items_max:
            self._drop()
        self.forget(item.at_s)

    def forget(self, now: float) -> None:
        """Drop what is too old."""
        if self._kept_s is not None:
            while self._items and self._items[0].at_s < now - self._kept_s:
                self._drop()

    def _drop(self) -> None:
        gone = self._items.popleft()
        self._bytes -= len(gone.data)
        self.lost_seq = gone.seq

    def since(self, seq: int) -> Iterator[Kept]:
        """What is kept with this number or a higher one, oldest first."""
        return (item for item in self._items if item.seq >= seq)

    def all(self) -> list[Kept]:
        """Everything, oldest first."""
        return list(self._items)
