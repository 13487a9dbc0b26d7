"""Frames, requests, replies, transactions and packets: bytes to values and back."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from bench import wire as client
from bench.micro.timing import BATCH, Micro
from trioquorum.pipeline.local import BODY_AT
from trioquorum.wire.client import decode_path_watch, reply
from trioquorum.wire.framing import FrameSplitter
from trioquorum.wire.ops import Op
from trioquorum.wire.quorum import PacketType, QuorumPacket, decode_packets, encode_packets
from trioquorum.wire.records import CreateRequest, SetDataRequest
from trioquorum.wire.txn import SetDataTxn, Txn, TxnHeader, decode_txn

PATH = "/bench/load/n0000"
VALUE = b"v" * 100
FRAME_BYTES_MAX = 1 << 20


def micros(folder: Path) -> Iterable[Micro]:
    """Of 100 B values; packets and frames in batches, as they come under load."""
    del folder
    gets = b"".join(client.request(xid, client.GET_DATA, client.get_body(PATH)) for xid in range(1, BATCH + 1))
    sets = b"".join(client.request(xid, client.SET_DATA, client.set_body(PATH, VALUE)) for xid in range(1, BATCH + 1))
    splitter = FrameSplitter(FRAME_BYTES_MAX)
    get = client.request(1, client.GET_DATA, client.get_body(PATH))[4:]
    txn = Txn(TxnHeader(1 << 56, 7, 1 << 32, 1_700_000_000_000, Op.SET_DATA), SetDataTxn(PATH, VALUE, 3))
    payload = txn.encode()
    packets = [QuorumPacket(PacketType.PROPOSAL, (1 << 32) + n, payload) for n in range(BATCH)]
    frame = encode_packets(packets)
    yield Micro("split a frame off, getData", partial(splitter.feed, gets), BATCH)
    yield Micro("split a frame off, setData", partial(splitter.feed, sets), BATCH)
    yield Micro("decode getData", partial(decode_path_watch, get, BODY_AT))
    yield Micro("decode setData", partial(SetDataRequest.decode, client.set_body(PATH, VALUE)))
    yield Micro("decode create", partial(CreateRequest.decode, client.create_body(PATH, VALUE)))
    yield Micro("encode a reply of 172 bytes", partial(reply, 1, 1 << 32, 0, bytes(172)))
    yield Micro("encode a transaction, setData", txn.encode)
    yield Micro("decode a transaction, setData", partial(decode_txn, payload))
    yield Micro("encode a PROPOSAL", partial(encode_packets, packets), BATCH)
    yield Micro("decode a PROPOSAL", partial(decode_packets, frame), BATCH)
