"""Quotas: what is counted, when, and which writes are refused (client-protocol §15)."""

import pytest
from hypothesis import given, settings, strategies as st

from tests.tree.kit import Connection, Server, at, code_of, codes, copy_of, create, multi, set_data, stat_of
from trioquorum.errors import Code
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.prep import Prep, PrepOptions
from trioquorum.tree.quotas import Excess, parse, render
from trioquorum.wire.ops import Op
from trioquorum.wire.txn import CreateTxn, DeleteTxn, SetDataTxn, Txn, TxnHeader

QUOTA = "/zookeeper/quota"


class Scene:
    """A server with quotas, as zkCli sets them."""

    def __init__(self, *, enforces: bool = True) -> None:
        self.server = Server()
        self.told: list[tuple[Excess, bool]] = []
        options = PrepOptions(enforces_quotas=enforces)
        self.server.prep = Prep(
            self.server.tree,
            self.server.tracker,
            options,
            on_excess=lambda excess, *, refused: self.told.append((excess, refused)),
        )
        self.client = self.server.connect(1)

    @property
    def tree(self) -> DataTree:
        return self.server.tree

    def create(self, path: str, data: bytes | None = b"", flags: int = 0) -> int:
        return self.server.write(self.client, Op.CREATE, create(path, data, flags=flags)).err

    def set(self, path: str, data: bytes, version: int = -1) -> int:
        return self.server.write(self.client, Op.SET_DATA, set_data(path, data, version)).err

    def delete(self, path: str) -> int:
        return self.server.write(self.client, Op.DELETE, at(path)).err

    def quota(self, path: str, limits: bytes = b"count=-1,bytes=-1") -> None:
        at = QUOTA
        for name in path.split("/")[1:]:
            at += f"/{name}"
            if at not in self.tree.nodes:
                assert self.create(at, None) == 0
        assert self.create(f"{at}/zookeeper_limits", limits) == 0
        assert self.create(f"{at}/zookeeper_stats", b"count=0,bytes=0") == 0

    def stats(self, path: str) -> bytes | None:
        return self.tree.nodes[f"{QUOTA}{path}/zookeeper_stats"].data


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (b"", {}),
        (None, {}),
        (b"count=3,bytes=-1", {"count": 3, "bytes": -1}),
        (b"count=3,bytes=5=;byteHardLimit=7;countHardLimit=9", {
            "count": 3, "bytes": 5, "byteHardLimit": 7, "countHardLimit": 9,
        }),
        (b"count=,bytes", {"count": -1, "bytes": -1}),
        (b",;,bytes=1;;", {"bytes": 1}),
        (b"count=many,bytes=1_0", {"count": -1, "bytes": -1}),
        (b"count=\xff,bytes= 1", {"count": -1, "bytes": -1}),
    ],
)  # fmt: skip
def test_the_text_of_limits(text: bytes | None, numbers: dict[str, int]) -> None:
    assert parse(text) == numbers


def test_text_that_zookeeper_writes_comes_back() -> None:
    for text in (b"count=3,bytes=5=;byteHardLimit=7;countHardLimit=9", b"count=-1,bytes=0", b"count=1,bytes=2=;x=1"):
        assert render(parse(text)) == text
    assert render({}) == b"count=-1,bytes=-1"


def test_stats_are_what_there_is() -> None:
    """The node itself is counted, what is deleted no more; another subtree is not."""
    scene = Scene()
    for path, data in (("/a", b"12"), ("/a/b", b"345"), ("/ab", b"6"), ("/other", b"7")):
        scene.create(path, data)
    scene.quota("/a")
    assert scene.stats("/a") == b"count=2,bytes=5"
    scene.create("/a/b/c", b"1234")
    assert scene.stats("/a") == b"count=3,bytes=9"
    scene.set("/a/b", b"")
    assert scene.stats("/a") == b"count=3,bytes=6"
    scene.create("/a/null", None)
    scene.create("/a/mine", b"x", flags=1)
    assert scene.stats("/a") == b"count=5,bytes=7"
    scene.server.write(scene.client, Op.CLOSE_SESSION)
    scene.client = scene.server.connect(2)
    scene.delete("/a/b/c")
    scene.set("/ab", b"much more")
    scene.create("/other/b", b"xx")
    assert scene.stats("/a") == b"count=3,bytes=2"
    assert scene.tree.quotas == {"/a"}


def test_stats_change_outside_transactions() -> None:
    scene = Scene()
    scene.create("/a")
    scene.quota("/a")
    path = f"{QUOTA}/a/zookeeper_stats"
    before, digest_without = stat_of(scene.tree, path), scene.tree.digest
    scene.create("/a/b", b"x" * 1000)
    after = stat_of(scene.tree, path)
    assert after.data_length == len(b"count=2,bytes=1000")
    assert (after.mzxid, after.version, after.mtime) == (before.mzxid, before.version, before.mtime)
    # The node counts in the digest, its quota does not.
    assert scene.tree.digest != digest_without
    assert all(node.digest == 0 for path, node in scene.tree.nodes.items() if path.startswith("/zookeeper/"))


def test_nobody_is_told_of_new_stats() -> None:
    scene, ear = Scene(), Connection(9)
    scene.create("/a")
    scene.quota("/a")
    scene.tree.watches.add_data(f"{QUOTA}/a/zookeeper_stats", ear)
    scene.create("/a/b")
    assert ear.events == []


def test_only_the_nearest_quota_counts() -> None:
    """Though making or loading one counts everything below it."""
    scene = Scene()
    scene.create("/a")
    scene.create("/a/b")
    scene.quota("/a")
    scene.quota("/a/b")
    scene.create("/a/b/c", b"xyz")
    assert (scene.stats("/a"), scene.stats("/a/b")) == (b"count=2,bytes=0", b"count=2,bytes=3")
    assert copy_of(scene.tree).nodes[f"{QUOTA}/a/zookeeper_stats"].data == b"count=3,bytes=3"


def test_a_quota_that_is_deleted_counts_no_more() -> None:
    scene = Scene()
    scene.create("/a")
    scene.quota("/a", b"count=1,bytes=-1=;countHardLimit=1")
    assert scene.delete(f"{QUOTA}/a/zookeeper_limits") == 0
    assert scene.tree.quotas == set()
    assert scene.create("/a/b") == 0
    assert scene.stats("/a") == b"count=1,bytes=0"
    assert scene.delete(f"{QUOTA}/a/zookeeper_stats") == 0


def test_no_quota_on_the_root_nor_beside_the_tree_of_quotas() -> None:
    scene = Scene()
    scene.create(f"{QUOTA}/zookeeper_limits", b"count=1,bytes=-1=;countHardLimit=1")
    scene.create("/zookeeper_limits", b"count=1,bytes=-1=;countHardLimit=1")
    scene.create("/zookeeper/quotable")
    scene.create("/zookeeper/quotable/zookeeper_limits")
    assert scene.tree.quotas == set()
    assert scene.create("/a") == 0
    assert scene.told == []
    assert copy_of(scene.tree).quotas == set()


def test_stats_that_somebody_wrote_are_counted_on() -> None:
    """Until the tree is loaded again."""
    scene = Scene()
    scene.create("/a")
    scene.quota("/a")
    scene.set(f"{QUOTA}/a/zookeeper_stats", b"count=100,bytes=7=;note=1")
    scene.create("/a/b", b"x")
    assert scene.stats("/a") == b"count=101,bytes=8=;note=1"
    scene.set(f"{QUOTA}/a/zookeeper_stats", b"nonsense")
    scene.create("/a/c", b"x")
    assert scene.stats("/a") == b"count=0,bytes=0=;nonsense=-1"
    assert copy_of(scene.tree).nodes[f"{QUOTA}/a/zookeeper_stats"].data == b"count=3,bytes=2"


def test_limits_without_stats_are_no_quota_yet() -> None:
    scene = Scene()
    scene.create("/a")
    scene.create(f"{QUOTA}/a")
    scene.create(f"{QUOTA}/a/zookeeper_limits", b"count=1,bytes=-1=;countHardLimit=1")
    assert scene.create("/a/b") == 0
    assert scene.told == []
    scene.create(f"{QUOTA}/a/zookeeper_stats")
    assert scene.stats("/a") == b"count=2,bytes=0"
    assert scene.create("/a/c") == Code.QUOTAEXCEEDED


# Limits


def test_a_hard_limit_is_kept() -> None:
    scene = Scene()
    scene.create("/a", b"12")
    scene.quota("/a", b"count=-1,bytes=-1=;byteHardLimit=6;countHardLimit=3")
    assert scene.create("/a/b", b"3456") == 0
    assert scene.create("/a/c", b"7") == Code.QUOTAEXCEEDED
    assert scene.set("/a", b"123") == Code.QUOTAEXCEEDED
    assert scene.set("/a", b"1") == 0
    assert scene.create("/a/c", b"7") == 0
    assert scene.create("/a/d", b"") == Code.QUOTAEXCEEDED
    assert scene.set("/a/b", b"2345") == 0
    assert scene.delete("/a/c") == 0
    assert scene.create("/a/d", b"") == 0
    assert scene.stats("/a") == b"count=3,bytes=5"
    assert scene.told == [
        (Excess("/a", "bytes", True, 6, 7), True),
        (Excess("/a", "bytes", True, 6, 7), True),
        (Excess("/a", "count", True, 3, 4), True),
    ]


@pytest.mark.parametrize("enforces", [True, False])
def test_a_limit_is_only_told_of_unless_it_is_hard_and_enforced(enforces: bool) -> None:
    scene = Scene(enforces=enforces)
    scene.create("/a")
    scene.quota("/a", b"count=1,bytes=-1=;byteHardLimit=3")
    assert scene.create("/a/b", b"123") == 0
    assert scene.set("/a/b", b"1234") == (Code.QUOTAEXCEEDED if enforces else 0)
    assert scene.told == [
        (Excess("/a", "count", False, 1, 2), False),
        (Excess("/a", "bytes", True, 3, 4), enforces),
    ]


def test_a_hard_limit_takes_the_place_of_a_soft_one() -> None:
    scene = Scene()
    scene.create("/a")
    scene.quota("/a", b"count=1,bytes=1=;byteHardLimit=9;countHardLimit=9")
    assert scene.create("/a/b", b"123") == 0
    assert scene.told == []


def test_a_limit_that_is_exceeded_already_forbids_every_change_of_size() -> None:
    scene = Scene()
    scene.create("/a", b"123456")
    scene.quota("/a", b"count=-1,bytes=-1=;byteHardLimit=3;countHardLimit=1")
    assert scene.set("/a", b"1234") == Code.QUOTAEXCEEDED
    assert scene.set("/a", b"abcdef") == 0
    assert scene.create("/a/b") == Code.QUOTAEXCEEDED
    assert scene.set("/a", b"123") == 0
    assert scene.delete("/a") == 0


def test_zero_bytes_may_be_the_limit() -> None:
    scene = Scene()
    scene.create("/a")
    scene.quota("/a", b"count=-1,bytes=-1=;byteHardLimit=0")
    assert scene.create("/a/b") == 0
    assert scene.create("/a/c", b"1") == Code.QUOTAEXCEEDED


def test_quota_comes_last_among_the_checks_of_create_and_before_the_version_of_set_data() -> None:
    scene = Scene()
    scene.create("/a")
    scene.create("/a/e", flags=1)
    scene.quota("/a", b"count=-1,bytes=-1=;byteHardLimit=0;countHardLimit=1")
    assert scene.create("/a/e") == Code.NODEEXISTS
    assert scene.create("/a/e/c") == Code.NOCHILDRENFOREPHEMERALS
    assert scene.set("/a", b"1", version=7) == Code.QUOTAEXCEEDED
    assert scene.set("/a", b"", version=7) == Code.BADVERSION


def test_a_multi_sees_its_own_data() -> None:
    """What counts is what it changes of its own earlier data; what it adds in several parts is not added up (§15)."""
    scene = Scene()
    scene.create("/a")
    scene.quota("/a", b"count=-1,bytes=-1=;byteHardLimit=5")

    def parts(first: bytes, second: bytes) -> list[int]:
        txn = scene.server.prepare(
            scene.client,
            Op.MULTI,
            multi((Op.CREATE, create("/a/b", first)), (Op.SET_DATA, set_data("/a/b", second))),
        )
        return codes(txn.record)

    assert parts(b"12345", b"54321") == [1, 1]
    scene.server.prep.clear()
    assert parts(b"1", b"1234567") == [1, Code.QUOTAEXCEEDED]
    assert scene.stats("/a") == b"count=1,bytes=0"
    assert not scene.server.prep.pending.proposed("/a/b")


def test_refusals_are_transactions() -> None:
    scene = Scene()
    scene.create("/a")
    scene.quota("/a", b"count=-1,bytes=-1=;countHardLimit=1")
    txn = scene.server.prepare(scene.client, Op.CREATE2, create("/a/b"))
    assert (txn.header.type, code_of(txn)) == (Op.ERROR, Code.QUOTAEXCEEDED)


# Whatever happens


PATHS = ["/a", "/a/b", "/a/b/c", "/a/d", "/x"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "ephemeral", "set", "delete", "quota", "unquota", "reload"]),
        st.sampled_from(PATHS),
        st.integers(0, 40),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(STEPS)
def test_counting_on_is_as_good_as_counting_anew(steps: list[tuple[str, str, int]]) -> None:
    """As long as quotas are not nested, which zkCli refuses."""
    scene = Scene(enforces=False)
    for do, path, size in steps:
        match do:
            case "create" | "ephemeral":
                scene.create(path, b"x" * size, flags=int(do == "ephemeral"))
            case "set":
                scene.set(path, b"x" * size)
            case "delete":
                scene.delete(path)
            case "quota" if f"{QUOTA}/a/zookeeper_limits" not in scene.tree.nodes:
                scene.quota("/a")
            case "unquota":
                for name in ("zookeeper_limits", "zookeeper_stats"):
                    scene.delete(f"{QUOTA}/a/{name}")
            case _:
                assert copy_of(scene.tree).quotas == scene.tree.quotas
        if "/a" in scene.tree.quotas:
            inside = [node for path, node in scene.tree.nodes.items() if path == "/a" or path.startswith("/a/")]
            size = sum(len(node.data or b"") for node in inside)
            assert scene.stats("/a") == b"count=%d,bytes=%d" % (len(inside), size)


def test_replay_over_a_fuzzy_snapshot_counts_once() -> None:
    """The snapshot holds what the log does again, and a child whose parent the log deletes and makes anew."""
    scene = Scene()
    scene.create("/a")
    scene.quota("/a")
    scene.create("/a/b", b"12")
    scene.create("/a/b/c", b"345")
    tree = copy_of(scene.tree)
    acl = list(create("/a").acl or ())
    replayed = [
        (Op.CREATE, CreateTxn("/a/b", b"12", acl, False, 1)),
        (Op.SET_DATA, SetDataTxn("/a/b", b"", 1)),
        (Op.SET_DATA, SetDataTxn("/a/b", b"12", 2)),
        (Op.DELETE, DeleteTxn("/a/b")),
        (Op.CREATE, CreateTxn("/a/b", b"1", acl, False, 2)),
        (Op.DELETE, DeleteTxn("/a/none")),
    ]
    for zxid, (op, record) in enumerate(replayed, tree.last_zxid + 1):
        tree.apply(Txn(TxnHeader(1, 1, zxid, 1, op), record))
    assert tree.nodes[f"{QUOTA}/a/zookeeper_stats"].data == b"count=2,bytes=1"
