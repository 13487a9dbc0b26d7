"""Transactions of log files as JSON objects, those that somebody asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import trio

from trioquorum.errors import CorruptLog, PeerProtocolError
from trioquorum.offline.describe import Json, describe_txn, is_below, paths_of
from trioquorum.offline.logs import Place, Records
from trioquorum.wire.txn import Txn, decode_txn


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which transactions: all conditions that are set must hold. ``path`` stands for its subtree too."""

    first: int | None = None
    last: int | None = None
    session: int | None = None
    path: str | None = None

    def wants(self, txn: Txn) -> bool:
        """Whether ``txn`` is one of them."""
        header = txn.header
        if self.first is not None and header.zxid < self.first:
            return False
        if self.last is not None and header.zxid > self.last:
            return False
        if self.session is not None and header.session & _ID != self.session & _ID:
            return False
        return self.path is None or any(is_below(path, self.path) for path in paths_of(txn))


_ID = (1 << 64) - 1


async def dump(
    files: Sequence[Path], wanted: Wanted, tell: Callable[[Json], object], read: Callable[[int], object]
) -> None:
    """Tell every transaction of ``files`` that is ``wanted``; ``read`` is told how many bytes are done.

    Raises:
        CorruptLog: damage; what stood in front of it was told.
    """
    await trio.lowlevel.checkpoint()
    for file in files:
        at = 0
        records = Records(file)
        while places := await records.next_places():
            for place in places:
                txn = _decoded(place)
                if wanted.wants(txn):
                    tell({"file": file.name, "offset": place.at} | describe_txn(txn))
            read(places[-1].at - at)
            at = places[-1].at
        read(file.stat().st_size - at)


def _decoded(place: Place) -> Txn:
    try:
        return decode_txn(place.payload)
    except PeerProtocolError as error:
        raise CorruptLog(f"{place.file}: the record at {place.at} is no transaction: {error}") from None
