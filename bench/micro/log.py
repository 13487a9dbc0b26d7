"""The log: records to bytes and back, and what a flush costs, alone and shared."""

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from bench.micro.codec import PATH, VALUE
from bench.micro.timing import BATCH, Micro
from trioquorum.storage.log_format import encode_records, parse_records
from trioquorum.wire.ops import Op
from trioquorum.wire.txn import SetDataTxn, Txn, TxnHeader

PREALLOCATED_BYTES = 64 << 20


class Flushed:
    """A preallocated file that is written from the start again when it is full."""

    def __init__(self, file: Path) -> None:
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(self._fd, 0, PREALLOCATED_BYTES)
        os.pwrite(self._fd, bytes(PREALLOCATED_BYTES), 0)
        os.fsync(self._fd)
        self._at = 0

    def append(self, data: bytes) -> None:
        """Durably, as ``storage.disk`` does it."""
        if self._at + len(data) > PREALLOCATED_BYTES:
            self._at = 0
        self._at += os.pwrite(self._fd, data, self._at)
        os.fdatasync(self._fd)


def micros(folder: Path) -> Iterable[Micro]:
    """Of setData transactions with 100 B values; flushes by the clock on the wall."""
    header = TxnHeader(1 << 56, 7, 1 << 32, 1_700_000_000_000, Op.SET_DATA)
    payloads = [Txn(header, SetDataTxn(PATH, VALUE, 3)).encode()] * BATCH
    records = encode_records(payloads)
    flushed = Flushed(folder / "log")
    yield Micro("encode a record", partial(encode_records, payloads), BATCH)
    yield Micro("parse a record", partial(parse_records, records, whole=True), BATCH)
    yield Micro(
        "write and flush one record, by the clock", partial(flushed.append, encode_records(payloads[:1])), 1, True
    )
    yield Micro("the same for each of 64 together, by the clock", partial(flushed.append, records), BATCH, True)
