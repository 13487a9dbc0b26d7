"""Jute: texts as Java reads and writes them, null and empty, lengths that lie, every record there and back."""

import tracemalloc
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings, strategies as st

from tests.wire.kit import RECORDS
from trioquorum.errors import PeerProtocolError
from trioquorum.wire import records, txn
from trioquorum.wire.fields import decode_buffer, decode_text, encode_buffer, encode_text
from trioquorum.wire.jute import Record

INTEGERS = {"b": 8, "i": 32, "q": 64}
# Characters beyond U+FFFF are written the way Java writes them, which nobody reads back.
TEXTS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]))


def values(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) is Annotated:
        code = get_args(hint)[1]
        if code == "?":
            return st.booleans()
        bits = INTEGERS[code]
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if hint is str:
        return TEXTS
    if hint is bytes:
        return st.binary()
    if get_origin(hint) is list:
        return st.lists(values(get_args(hint)[0]), max_size=4)
    if isinstance(hint, type) and issubclass(hint, Record):
        return instances(hint)
    return st.one_of([st.none() if each is type(None) else values(each) for each in get_args(hint)])


def instances(cls: type[Record]) -> st.SearchStrategy[Record]:
    hints = get_type_hints(cls, include_extras=True)
    return st.builds(cls, **{name: values(hints[name]) for name in cls.__struct_fields__})


def test_all_records_are_tested() -> None:
    assert len(RECORDS) > 45


@settings(max_examples=15, deadline=None)
@given(st.data(), st.binary(max_size=5), st.binary(max_size=5))
@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_there_and_back(cls: type[Record], data: st.DataObject, before: bytes, behind: bytes) -> None:
    record = data.draw(instances(cls))
    encoded = record.encode()
    assert cls.decode(encoded) == record
    assert cls.decode_from(before + encoded + behind, len(before)) == (record, len(before) + len(encoded))
    for size in range(len(encoded)):
        with pytest.raises(PeerProtocolError):
            cls.decode(encoded[:size])


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        (None, "ffffffff"),
        ("", "00000000"),
        ("/a", "000000022f61"),
        ("é", "00000002c3a9"),
        ("中", "00000003e4b8ad"),
        ("\uffff", "00000003efbfbf"),
        ("\U0001f600", "00000006eda0bdedb880"),
        ("a\U0010ffffb", "0000000861edafbfedbfbf62"),
        ("\ud83d", "00000003eda0bd"),
        ("\0", "0000000100"),
    ],
)
def test_texts_are_written_as_java_writes_them(text: str | None, encoded: str) -> None:
    assert encode_text(text).hex() == encoded


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("f09f9880", "\U0001f600"),
        ("eda0bdedb880", "\ufffd\ufffd"),
        ("eda0bd", "\ufffd"),
        ("eda0", "\ufffd"),
        ("eda061", "\ufffda"),
        ("ed80", "\ufffd"),
        ("ed", "\ufffd"),
        ("edbfbf41", "\ufffdA"),
        ("f09f98", "\ufffd"),
        ("c0af", "\ufffd\ufffd"),
        ("c328", "\ufffd("),
        ("80", "\ufffd"),
        ("fffe", "\ufffd\ufffd"),
        ("e08080", "\ufffd\ufffd\ufffd"),
        ("f4908080", "\ufffd\ufffd\ufffd\ufffd"),
        ("f8808080", "\ufffd\ufffd\ufffd\ufffd"),
        ("e28261", "\ufffda"),
    ],
)
def test_broken_texts_are_read_as_java_reads_them(raw: str, text: str) -> None:
    """The right column is what OpenJDK 17 makes of these bytes."""
    data = bytes.fromhex(raw)
    assert decode_text(len(data).to_bytes(4, "big") + data, 0) == (text, 4 + len(data))


def test_null_and_empty_are_different() -> None:
    assert [encode_buffer(data) for data in (None, b"", b"a")] == [b"\xff" * 4, bytes(4), b"\0\0\0\1a"]
    assert [decode_buffer(encode_buffer(data), 0)[0] for data in (None, b"", b"a")] == [None, b"", b"a"]
    children = [records.ChildrenResponse(each) for each in (None, [], [""])]
    assert [record.encode() for record in children] == [b"\xff" * 4, bytes(4), b"\0\0\0\1" + bytes(4)]


def test_null_is_refused_where_a_text_is_needed() -> None:
    with pytest.raises(PeerProtocolError, match="null"):
        txn.DeleteTxn.decode(b"\xff\xff\xff\xff")
    with pytest.raises(PeerProtocolError, match="null"):
        records.ChildrenResponse.decode(b"\0\0\0\1\xff\xff\xff\xff")
    assert records.PathRequest.decode(b"\xff\xff\xff\xff").path is None


def test_any_byte_but_zero_is_true() -> None:
    assert records.PathWatchRequest.decode(b"\0\0\0\1/\x07").watch is True


@pytest.mark.parametrize("length", [-2, -5, -(2**31), 6, 2**31 - 1])
@pytest.mark.parametrize("decode", [decode_text, decode_buffer])
def test_lengths_that_lie(length: int, decode: Callable[[bytes, int], tuple[Any, int]]) -> None:
    with pytest.raises(PeerProtocolError):
        decode(length.to_bytes(4, "big", signed=True) + b"hello", 0)


@pytest.mark.parametrize("count", [-2, -(2**31), 9, 1 << 20, 2**31 - 1])
def test_counts_that_lie_cost_nothing(count: int) -> None:
    data = count.to_bytes(4, "big", signed=True) + bytes(8)
    kinds = (records.ChildrenResponse, records.WhoAmIResponse, txn.MultiTxn)
    for cls in kinds:
        cls.decode(bytes(4))
    tracemalloc.start()
    try:
        for cls in kinds:
            with pytest.raises(PeerProtocolError):
                cls.decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000


def test_a_field_of_no_jute_type_is_refused() -> None:
    class Odd(Record):
        ratio: float

    with pytest.raises(TypeError, match="no jute type"):
        Odd(0.5).encode()
