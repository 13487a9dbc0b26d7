from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from trioquorum.tree.acl import OPEN_ACL, AclList, Identity
from trioquorum.tree.watches import KINDS, Mode, WatchTable, WatchTables
from trioquorum.wire.records import Acl

CREATED, DELETED, CHANGED, CHILDREN = 1, 2, 3, 4
SECRET: AclList = (Acl(31, "digest", "bob:x"),)


class Ear:
    def __init__(self, auth: Sequence[Identity] = ()) -> None:
        self.auth = auth
        self.heard: list[tuple[int, str, int]] = []

    def notify(self, event_type: int, path: str, zxid: int) -> None:
        self.heard.append((event_type, path, zxid))


def created(tables: WatchTables, path: str, zxid: int = 1) -> None:
    tables.created(path, path[: path.rfind("/")] or "/", zxid, OPEN_ACL, OPEN_ACL)


def deleted(tables: WatchTables, path: str, zxid: int = 1) -> None:
    tables.deleted(path, path[: path.rfind("/")] or "/", zxid, OPEN_ACL, OPEN_ACL)


def test_a_standard_watch_fires_once() -> None:
    tables, ear = WatchTables(), Ear()
    tables.add_data("/a", ear)
    tables.changed("/a", 7, OPEN_ACL)
    tables.changed("/a", 8, OPEN_ACL)
    assert ear.heard == [(CHANGED, "/a", 7)]
    assert not tables


def test_create_tells_data_watchers_then_the_parents_child_watchers() -> None:
    tables, ear = WatchTables(), Ear()
    tables.add_child("/", ear)
    tables.add_data("/a", ear)
    created(tables, "/a")
    assert ear.heard == [(CREATED, "/a", 1), (CHILDREN, "/", 1)]


def test_delete_reaches_a_watcher_of_data_and_children_once() -> None:
    tables, both, child = WatchTables(), Ear(), Ear()
    tables.add_data("/a/b", both)
    tables.add_child("/a/b", both)
    tables.add_child("/a/b", child)
    tables.add_child("/a", child)
    deleted(tables, "/a/b")
    assert both.heard == [(DELETED, "/a/b", 1)]
    assert child.heard == [(DELETED, "/a/b", 1), (CHILDREN, "/a", 1)]
    assert not tables


def test_modes_coexist() -> None:
    tables, ear = WatchTables(), Ear()
    tables.add_data("/a", ear)
    tables.add_persistent("/a", ear, recursive=False)
    tables.add_persistent("/a", ear, recursive=True)
    tables.changed("/a", 1, OPEN_ACL)
    tables.changed("/a", 2, OPEN_ACL)
    assert ear.heard == [(CHANGED, "/a", 1), (CHANGED, "/a", 2)]
    assert tables.data.modes("/a", ear) == Mode.PERSISTENT | Mode.RECURSIVE


def test_a_recursive_watch_hears_of_everything_below_but_never_of_child_lists() -> None:
    tables, ear = WatchTables(), Ear()
    tables.add_persistent("/a", ear, recursive=True)
    created(tables, "/a/b/c")
    tables.changed("/a/b", 2, OPEN_ACL)
    tables.changed("/ab", 2, OPEN_ACL)
    deleted(tables, "/a", 3)
    assert ear.heard == [(CREATED, "/a/b/c", 1), (CHANGED, "/a/b", 2), (DELETED, "/a", 3)]


def test_a_recursive_watch_on_the_root() -> None:
    tables, ear = WatchTables(), Ear()
    tables.add_persistent("/", ear, recursive=True)
    created(tables, "/a")
    tables.changed("/", 2, OPEN_ACL)
    assert ear.heard == [(CREATED, "/a", 1), (CHANGED, "/", 2)]


def test_at_most_one_event_per_change_and_watcher() -> None:
    tables, ear = WatchTables(), Ear()
    tables.add_data("/a/b", ear)
    tables.add_persistent("/a", ear, recursive=True)
    tables.add_persistent("/", ear, recursive=True)
    tables.changed("/a/b", 1, OPEN_ACL)
    assert ear.heard == [(CHANGED, "/a/b", 1)]


def test_who_may_not_read_hears_nothing_but_the_watch_is_gone() -> None:
    tables, stranger, bob = WatchTables(), Ear(), Ear([("digest", "bob:x")])
    for ear in (stranger, bob):
        tables.add_data("/a", ear)
        tables.add_child("/", ear)
    tables.created("/a", "/", 5, SECRET, OPEN_ACL)
    assert stranger.heard == [(CHILDREN, "/", 5)]
    assert bob.heard == [(CREATED, "/a", 5), (CHILDREN, "/", 5)]
    assert not tables


def test_watchers_are_told_in_the_order_they_registered() -> None:
    tables = WatchTables()
    order: list[int] = []

    class Numbered(Ear):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def notify(self, event_type: int, path: str, zxid: int) -> None:
            order.append(self.number)

    for number in range(20):
        tables.add_data("/a", Numbered(number))
    tables.changed("/a", 1, OPEN_ACL)
    assert order == list(range(20))


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        (1, {"data": Mode.ANY, "child": Mode.PERSISTENT}),
        (2, {"data": Mode.PERSISTENT | Mode.RECURSIVE, "child": Mode.STANDARD | Mode.PERSISTENT}),
        (3, {"data": 0, "child": 0}),
        (4, {"data": Mode.STANDARD | Mode.RECURSIVE, "child": Mode.STANDARD}),
        (5, {"data": Mode.STANDARD | Mode.PERSISTENT, "child": Mode.STANDARD | Mode.PERSISTENT}),
    ],
)
def test_removal_by_kind(kind: int, left: dict[str, int]) -> None:
    tables, ear = WatchTables(), Ear()
    tables.add_data("/a", ear)
    tables.add_child("/a", ear)
    tables.add_persistent("/a", ear, recursive=False)
    tables.add_persistent("/a", ear, recursive=True)
    assert tables.holds("/a", ear, kind)
    assert tables.remove("/a", ear, kind)
    assert {"data": tables.data.modes("/a", ear), "child": tables.child.modes("/a", ear)} == left
    assert not tables.remove("/a", ear, kind)
    assert not ear.heard


def test_counts_and_listings() -> None:
    table, one, two = WatchTable(), Ear(), Ear()
    table.add("/b", one)
    table.add("/a", one, Mode.PERSISTENT)
    table.add("/a", two)
    assert table.watches() == 3
    assert table.paths() == {"/b": [one], "/a": [one, two]}
    assert table.watchers() == {one: ["/a", "/b"], two: ["/a"]}


PATHS = ["/", "/a", "/a/b", "/a/b/c", "/x"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "remove", "gone", "fire"]),
            st.sampled_from(PATHS),
            st.integers(0, 2),
            st.sampled_from([1, 2, 4, 3, 7]),
        ),
        max_size=40,
    )
)
def test_the_table_agrees_with_a_plain_one(steps: list[tuple[str, str, int, int]]) -> None:
    table = WatchTable()
    ears = [Ear() for _ in range(3)]
    plain: dict[tuple[str, int], int] = {}
    for do, path, who, modes in steps:
        if do == "add":
            for mode in (1, 2, 4):
                if modes & mode:
                    table.add(path, ears[who], mode)
            plain[path, who] = plain.get((path, who), 0) | modes
        elif do == "remove":
            assert table.remove(path, ears[who], modes) == bool(plain.get((path, who), 0) & modes)
            plain[path, who] = plain.get((path, who), 0) & ~modes
        elif do == "gone":
            table.remove_watcher(ears[who])
            plain = {key: held for key, held in plain.items() if key[1] != who}
        else:
            above = [p for p in PATHS if p != path and (p == "/" or path.startswith(p + "/"))]
            expected = {
                w for w in range(3)
                if plain.get((path, w), 0) or any(plain.get((p, w), 0) & Mode.RECURSIVE for p in above)
            }  # fmt: skip
            told = table.triggered(path)
            assert len(told) == len(set(told))
            assert {ears.index(ear) for ear in told if isinstance(ear, Ear)} == expected
            for w in range(3):
                plain[path, w] = plain.get((path, w), 0) & ~Mode.STANDARD
        plain = {key: held for key, held in plain.items() if held}
        assert table.watches() == len(plain)
        assert bool(table.by_path) == bool(plain)
        assert table._recursive == sum(1 for held in plain.values() if held & Mode.RECURSIVE)
        for (at, w), held in plain.items():
            assert table.modes(at, ears[w]) == held


def test_the_kinds_are_zookeepers() -> None:
    assert sorted(KINDS) == [1, 2, 3, 4, 5]


def test_who_watches_the_same_path_shares_its_text() -> None:
    """Each request brings a text of its own; a million watches must not keep a million of them."""
    table = WatchTable()
    ears = [Ear() for _ in range(20)]
    for ear in ears:
        table.add(b"/some/path".decode(), ear)
    assert len({id(path) for paths in table.watchers().values() for path in paths}) <= 2


def test_a_change_uses_up_one_time_watches_alone() -> None:
    """Among many watchers of a path, with every mix of modes, and in the order in which they came."""
    table = WatchTable()
    ears = [Ear() for _ in range(8)]
    for modes, ear in enumerate(ears):
        for mode in (1, 2, 4):
            if modes & mode:
                table.add("/a", ear, mode)
    assert list(table.triggered("/a")) == ears[1:]
    assert [table.modes("/a", ear) for ear in ears] == [0, 0, 2, 2, 4, 4, 6, 6]
    assert set(table.watchers()) == set(ears[2:])
    assert list(table.triggered("/a")) == ears[2:]
