"""Compiled, ``size = read_i32_be(...)`` makes ``size`` a number of 32 bits, which wraps where Python's does not."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BARE = re.compile(r"^\s*(?:\w+, )*\w+ = (?:\w+, )*read_[iu]\d+_be\(", re.MULTILINE)


@pytest.mark.parametrize("line", ["size = read_i32_be(data, 0)", "    a, b = read_i64_be(data, 0), 3"])
def test_the_pattern_finds_it(line: str) -> None:
    assert BARE.search(line)
    assert not BARE.search(line.replace(" =", ": int ="))


def test_what_is_read_becomes_an_int() -> None:
    found = {
        str(file.relative_to(ROOT)): BARE.findall(file.read_text())
        for package in ("trioquorum", "transports")
        for file in (ROOT / package).rglob("*.py")
    }
    assert {file: lines for file, lines in found.items() if lines} == {}
