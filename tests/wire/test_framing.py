"""Length-prefixed frames: cut anywhere, bounded, refused with what came before."""

import tracemalloc

import pytest
from hypothesis import given, settings, strategies as st

from trioquorum.errors import FrameRefused, PeerProtocolError
from trioquorum.wire.client import frame
from trioquorum.wire.framing import FrameSplitter

LIMIT = 64
PAYLOADS = st.lists(st.binary(max_size=LIMIT), max_size=8)


def in_pieces(stream: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    at = 0
    for size in sizes:
        pieces.append(stream[at : at + size])
        at += size
    return [*pieces, stream[at:]]


def feed_all(splitter: FrameSplitter, pieces: list[bytes], found: list[bytes]) -> None:
    for piece in pieces:
        found += splitter.feed(piece)


@settings(deadline=None)
@given(PAYLOADS, st.lists(st.integers(0, 90), max_size=12), st.binary(max_size=3))
def test_frames_come_out_however_the_stream_is_cut(payloads: list[bytes], sizes: list[int], tail: bytes) -> None:
    stream = b"".join(map(frame, payloads)) + tail
    splitter = FrameSplitter(LIMIT)
    found = []
    for piece in in_pieces(stream, sizes):
        found += splitter.feed(piece)
        assert len(splitter.pending) < LIMIT + 4
    assert found == payloads
    assert splitter.pending == tail


@settings(deadline=None)
@given(
    PAYLOADS, st.lists(st.integers(0, 90), max_size=12), st.one_of(st.integers(-(2**31), -1), st.integers(LIMIT + 1))
)
def test_a_forbidden_length_is_refused_behind_the_frames_before_it(
    payloads: list[bytes], sizes: list[int], length: int
) -> None:
    length = min(length, 2**31 - 1)
    stream = b"".join(map(frame, payloads)) + length.to_bytes(4, "big", signed=True) + b"rest"
    splitter = FrameSplitter(LIMIT)
    found: list[bytes] = []
    with pytest.raises(FrameRefused, match=f"frame of {length} bytes, at most {LIMIT}") as refusal:
        feed_all(splitter, in_pieces(stream, sizes), found)
    assert refusal.value.size == length
    assert found + refusal.value.frames == payloads
    assert isinstance(refusal.value, PeerProtocolError)


def test_the_limit_itself_is_allowed() -> None:
    assert FrameSplitter(0xFFFFF).feed(frame(bytes(0xFFFFF))) == [bytes(0xFFFFF)]
    with pytest.raises(FrameRefused):
        FrameSplitter(0xFFFFF).feed((0x100000).to_bytes(4, "big"))


def test_the_limit_may_change_between_calls() -> None:
    splitter = FrameSplitter(4)
    assert splitter.feed(frame(b"1234")) == [b"1234"]
    splitter.limit = 8
    assert splitter.feed(frame(b"12345678")) == [b"12345678"]
    splitter.limit = 4
    with pytest.raises(FrameRefused):
        splitter.feed(frame(b"12345"))


def test_an_empty_frame_is_a_frame() -> None:
    assert FrameSplitter(0).feed(bytes(8)) == [b"", b""]


def test_nothing_is_nothing() -> None:
    splitter = FrameSplitter(LIMIT)
    assert splitter.feed(b"") == []
    assert splitter.feed(b"\0\0\0") == []
    assert splitter.feed(b"") == []
    assert splitter.feed(b"\1a") == [b"a"]


def test_an_announced_size_takes_no_memory() -> None:
    splitter = FrameSplitter(2**31 - 1)
    tracemalloc.start()
    try:
        assert splitter.feed(b"\x7f\xff\xff\xff" + bytes(100)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000


def test_a_large_frame_in_small_pieces_is_copied_a_few_times_only() -> None:
    """Were the whole buffer copied at each piece, the pieces here would move 1 GiB instead of some MiB."""
    size, piece = 1 << 20, bytes(512)
    splitter = FrameSplitter(size)
    splitter.feed(size.to_bytes(4, "big"))
    grown = []
    tracemalloc.start()
    try:
        for _ in range(size // 512 - 1):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            assert splitter.feed(piece) == []
            grown.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    # A buffer that grows in place doubles a few dozen times; all other pieces allocate next to nothing.
    assert sum(growth > 64 << 10 for growth in grown) < 100
    (payload,) = splitter.feed(piece)
    assert len(payload) == size
