import pytest

from trioquorum.tree.paths import parent_of, sequence_suffix, validate_path


@pytest.mark.parametrize(
    "path",
    ["/", "/a", "/a/b", "/...", "/.x", "/a/...b", "/x.", "/é中", "/\ud7ff", "/\uf900", "/\uffef", "/ ", "/a b"],
)
def test_legal(path: str) -> None:
    assert validate_path(path)


@pytest.mark.parametrize(
    "path",
    [
        None, "", "a", "relative/x", "/a/", "//", "/a//b", "/.", "/..", "/a/.", "/a/..", "/./a", "/a/../b",
        "/\0", "/a\x01", "/a\x1f", "/a\x7f", "/a\x9f", "/\ud800", "/\ue000", "/\uf8ff", "/\ufff0", "/\uffff", "/😀",
    ],
)  # fmt: skip
def test_illegal(path: str | None) -> None:
    assert not validate_path(path)


def test_parents() -> None:
    assert [parent_of(path) for path in ("/", "/a", "/a/b", "/a/b/", "//b", "/a//b")] == [
        "/", "/", "/a", "/a/b", "/", "/a/",
    ]  # fmt: skip


def test_sequence_suffix_is_javas() -> None:
    numbers = [7, 0, 2147483647, -1, -2147483648]
    assert [sequence_suffix(n) for n in numbers] == [
        "0000000007", "0000000000", "2147483647", "-000000001", "-2147483648",
    ]  # fmt: skip
