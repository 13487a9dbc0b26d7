"""The log's bytes: vectors, and what a reader makes of interrupted writes and flipped bits."""

import pytest
from hypothesis import given, strategies as st

from tests.storage.kit import create
from trioquorum.errors import CorruptLog
from trioquorum.storage.log_format import HEADER, Stop, encode_records, parse_records
from trioquorum.wire.ops import Op
from trioquorum.wire.txn import CreateSessionTxn, Txn, TxnDigest, TxnHeader, payload_zxid

ONE_SESSION = bytes.fromhex(
    "5a4b4c47 00000002 0000000000000000 0000000096f9099d 00000030 0100000000000000 00000000 0000000100000001"
    "0000018bcfe56800 fffffff6 00000fa0 00000002 0000000051c6d660 42"
)

DATA = st.binary(max_size=1500) | st.integers(0, 1500).map(bytes)
PAYLOADS = st.lists(DATA, min_size=1, max_size=6).map(
    lambda datas: [create(n + 1, f"/n{n}", data) for n, data in enumerate(datas)]
)


def test_a_log_of_one_session() -> None:
    header = TxnHeader(0x0100000000000000, 0, 0x100000001, 1700000000000, Op.CREATE_SESSION)
    payload = Txn(header, CreateSessionTxn(4000), TxnDigest(2, 1371985504)).encode()
    assert HEADER + encode_records([payload]) == ONE_SESSION
    parsed = parse_records(ONE_SESSION, len(HEADER), whole=True)
    assert parsed.records == [(0x100000001, payload)]
    assert (parsed.at, parsed.stop) == (77, Stop.END)


def records(payloads: list[bytes]) -> list[tuple[int, bytes]]:
    return [(payload_zxid(payload), payload) for payload in payloads]


@given(PAYLOADS, st.integers(0, 1024))
def test_padding_is_the_end(payloads: list[bytes], padding: int) -> None:
    data = encode_records(payloads)
    parsed = parse_records(data + bytes(padding), whole=True)
    assert parsed.records == records(payloads)
    assert (parsed.at, parsed.stop) == (len(data), Stop.END)


@given(PAYLOADS, st.data())
def test_a_file_read_in_pieces_of_any_size(payloads: list[bytes], draw: st.DataObject) -> None:
    data = encode_records(payloads) + bytes(draw.draw(st.integers(0, 600)))
    found: list[tuple[int, bytes]] = []
    at = need = 0
    while True:
        size = draw.draw(st.integers(1, 700)) + need
        piece = data[at : at + size]
        parsed = parse_records(piece, whole=at + size >= len(data))
        found += parsed.records
        at += parsed.at
        if parsed.stop is not Stop.MORE:
            break
        assert parsed.need > len(piece) - parsed.at
        need = parsed.need
    assert found == records(payloads)
    assert parsed.stop is Stop.END


@given(PAYLOADS, st.data())
def test_an_interrupted_write_leaves_whole_records_only(payloads: list[bytes], draw: st.DataObject) -> None:
    """Its first bytes arrived; behind them the file ends, or goes on with zeros that were preallocated."""
    data = encode_records(payloads)
    arrived = draw.draw(st.integers(0, len(data) - 1))
    padding = draw.draw(st.sampled_from((0, 2 * len(data) + 600)))
    parsed = parse_records(data[:arrived] + bytes(padding), whole=True)
    ends = [len(encode_records(payloads[:count])) for count in range(len(payloads) + 1)]
    count = max(n for n, end in enumerate(ends) if end <= arrived)
    assert parsed.records == records(payloads[:count])
    assert parsed.at == ends[count]
    assert parsed.stop in (Stop.TORN, Stop.END)
    if any(data[ends[count] : arrived]):
        assert parsed.stop is Stop.TORN


@given(PAYLOADS.filter(lambda payloads: len(payloads) > 1), st.data())
def test_a_flipped_bit_never_hides_what_follows(payloads: list[bytes], draw: st.DataObject) -> None:
    """Only damage of the last record can look like an interrupted write."""
    data = bytearray(encode_records(payloads))
    before_last = len(encode_records(payloads[:-1]))
    bit = draw.draw(st.integers(0, 8 * before_last - 1))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptLog):
        parse_records(bytes(data) + bytes(1024), whole=True)


def test_lost_pages_are_an_interrupted_write() -> None:
    """Power loss may keep the last pages of a write and lose earlier ones."""
    payloads = [create(n + 1, f"/n{n}", b"x" * 300) for n in range(30)]
    data = bytearray(encode_records(payloads))
    data[4096 : 4096 + 512] = bytes(512)
    parsed = parse_records(bytes(data), whole=True)
    assert parsed.stop is not Stop.MORE
    assert parsed.at <= 4096
    assert parsed.records == records(payloads[: len(parsed.records)])


@pytest.mark.parametrize("length", [-1, -(2**31), (64 << 20) + 1, 2**31 - 1])
def test_impossible_lengths_are_damage(length: int) -> None:
    data = bytes(8) + length.to_bytes(4, "big", signed=True) + bytes(100)
    with pytest.raises(CorruptLog, match="bytes at 1024"):
        parse_records(data, whole=True, base=1024)


@pytest.mark.parametrize("arrived", range(1, 13))
def test_a_write_that_stopped_in_the_front_of_a_record(arrived: int) -> None:
    data = encode_records([create(1, "/a")])
    parsed = parse_records(data[:arrived] + bytes(1024), whole=True)
    assert (parsed.records, parsed.at) == ([], 0)
    # The upper half of a checksum is zero like padding.
    assert parsed.stop is (Stop.TORN if arrived > 4 else Stop.END)


def test_an_end_byte_that_is_neither_right_nor_missing() -> None:
    data = encode_records([create(1, "/a")])
    assert parse_records(data[:-1] + b"\0" + bytes(1024), whole=True).stop is Stop.TORN
    with pytest.raises(CorruptLog, match="has no end, and more follows"):
        parse_records(data[:-1] + b"C" + bytes(1024), whole=True)


def test_a_wrong_length_that_points_into_zeros() -> None:
    payload = create(1, "/a", bytes(2500))
    data = bytearray(encode_records([payload, create(2, "/b")]))
    data[10] ^= 4  # 1024 bytes less
    with pytest.raises(CorruptLog, match="has a wrong length"):
        parse_records(bytes(data) + bytes(1024), whole=True)


def test_a_wrong_length_that_points_behind_other_records() -> None:
    data = bytearray(encode_records([create(1, "/a"), create(2, "/b"), create(3, "/c")]))
    data[8:12] = (600).to_bytes(4, "big")
    with pytest.raises(CorruptLog, match="has no end, and records follow"):
        parse_records(bytes(data) + bytes(4096), whole=True)


def test_a_length_that_became_zero_hides_nothing() -> None:
    """A length that is a power of two is one flipped bit away from padding."""
    payload = create(1, "/a", bytes(13))
    data = bytearray(encode_records([payload, create(2, "/b")]))
    assert len(payload) == 64
    data[11] ^= 64
    with pytest.raises(CorruptLog, match="has no end, and more follows"):
        parse_records(bytes(data) + bytes(1024), whole=True)
    for cut in range(12, len(data)):
        assert parse_records(bytes(data[:cut]), whole=False).stop is Stop.MORE
