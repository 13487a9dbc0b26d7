"""What waits to be written to the log."""

from collections import deque
from collections.abc import Sequence

from trioquorum.invariants import broken


class LogQueue:
    """Payloads in the order of their zxids, bounded by those who ask ``has_room``.

    ``last_appended`` is the zxid of the last transaction that was queued; ``appended`` and ``appended_bytes`` count
    what was queued since the start.
    """

    def __init__(self, last_zxid: int, bytes_max: int, batch_bytes_max: int) -> None:
        """``has_room`` until more than ``bytes_max`` is queued; ``next_batch`` is of ``batch_bytes_max`` at most."""
        self.last_appended = last_zxid
        self.appended = 0
        self.appended_bytes = 0
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._bytes_max = bytes_max
        self._batch_bytes_max = batch_bytes_max

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether no more than the bound is queued, or on its way to the disk."""
        return self._bytes <= self._bytes_max

    def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Queue transactions, (zxid, payload) each; never waits."""
        last, size = self.last_appended, 0
        waiting = self._waiting
        for zxid, payload in records:
            if zxid <= last:
                raise broken("the log only grows", zxid=zxid, last=last)
            last = zxid
            size += len(payload)
            waiting.append(payload)
        self.last_appended = last
        self.appended += len(records)
        self.appended_bytes += size
        self._bytes += size

    def next_batch(self) -> list[bytes]:
        """Take what one flush is to make durable; ``written`` tells when it is. There must be something."""
        waiting = self._waiting
        batch = [waiting.popleft()]
        size = len(batch[0])
        while waiting and size + len(waiting[0]) <= self._batch_bytes_max:
            payload = waiting.popleft()
            size += len(payload)
            batch.append(payload)
        return batch

    def written(self, size_bytes: int) -> None:
        """So many bytes of payloads are in the log and take no room any more."""
        self._bytes -= size_bytes
