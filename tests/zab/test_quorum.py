from itertools import chain, combinations

import pytest
from hypothesis import given, strategies as st

from tests.zab.kit import config, member, members
from trioquorum.errors import ConfigError
from trioquorum.zab.quorum import Member, QuorumConfig


@pytest.mark.parametrize(("voters", "enough"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_majority_is_more_than_half(voters: int, enough: int) -> None:
    quorum = config(*range(1, voters + 1))
    assert quorum.contains_quorum(range(1, enough + 1))
    assert not quorum.contains_quorum(range(1, enough))


def test_only_voters_count() -> None:
    quorum = config(1, 2, 3, observers=[4, 5])
    assert quorum.voters == {1, 2, 3}
    assert quorum.observers == {4, 5}
    assert not quorum.contains_quorum([1, 4, 5, 99])
    assert not quorum.contains_quorum([1, 1, 1])
    assert quorum.contains_quorum(iter([1, 4, 3]))


def test_nobody_is_no_quorum() -> None:
    assert not QuorumConfig([]).contains_quorum([])
    assert not config(1).contains_quorum([])


def test_majority_ignores_weights() -> None:
    quorum = QuorumConfig([member(1, weight=0), member(2, weight=9), member(3)])
    assert quorum.weight(1) == quorum.weight(2) == quorum.weight(99) == 1
    assert quorum.contains_quorum([1, 3])


def grouped(**weights: int) -> QuorumConfig:
    """Nine peers in three groups of three."""
    return QuorumConfig(member(sid, group=(sid - 1) // 3, weight=weights.get(f"w{sid}", 1)) for sid in range(1, 10))


def test_hierarchical_needs_most_of_most_groups() -> None:
    quorum = grouped()
    assert quorum.hierarchical
    assert quorum.contains_quorum([1, 2, 4, 5])
    assert not quorum.contains_quorum([1, 2, 3, 4, 7])  # one whole group and one of each other
    assert not quorum.contains_quorum([1, 2, 3])


def test_a_group_without_weight_is_no_group() -> None:
    quorum = grouped(w7=0, w8=0, w9=0)
    assert quorum.weight(7) == 0
    assert quorum.weight(99) == 0
    assert not quorum.contains_quorum([1, 2, 7, 8, 9])
    assert quorum.contains_quorum([1, 2, 5, 6])


def test_weights_decide_within_a_group() -> None:
    quorum = grouped(w1=3)
    assert quorum.contains_quorum([1, 4, 5])
    assert not quorum.contains_quorum([2, 3, 4, 5])  # 2 of 5 is not more than half


def test_an_observer_has_no_say_in_its_group() -> None:
    quorum = QuorumConfig([*members(1, 2, 3, group=0), member(4, group=0, role="observer")])
    assert quorum.contains_quorum([1, 2])
    assert not quorum.contains_quorum([1, 4])
    assert quorum.weight(4) == 0


@given(st.data())
def test_two_quorums_always_meet(data: st.DataObject) -> None:
    groups = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=7))
    weights = data.draw(st.lists(st.integers(0, 3), min_size=len(groups), max_size=len(groups)))
    flat = data.draw(st.booleans())
    quorum = QuorumConfig(
        member(sid, group=None if flat else group, weight=weight)
        for sid, (group, weight) in enumerate(zip(groups, weights, strict=True))
    )
    sids = range(len(groups))
    sets = chain.from_iterable(combinations(sids, size) for size in range(len(groups) + 1))
    quorums = [set(some) for some in sets if quorum.contains_quorum(some)]
    assert all(one & other for one in quorums for other in quorums)
    for some in quorums:
        assert all(quorum.contains_quorum({*some, other}) for other in sids)


def test_a_voter_without_a_group_among_grouped_is_refused() -> None:
    with pytest.raises(ConfigError, match="peer 2 has no group"):
        QuorumConfig([member(1, group=0), member(2)])


def test_an_id_is_used_once() -> None:
    with pytest.raises(ConfigError, match="peer 3 is listed twice"):
        QuorumConfig(members(3, 3))


def test_text_is_zookeepers() -> None:
    quorum = QuorumConfig(
        [
            Member(2, "tcp://127.0.0.1:2882", "tcp://127.0.0.1:3882", "tcp://127.0.0.1:2182", role="observer"),
            Member(1, "tcp://[::1]:2881", "tcp://[::1]:3881"),
            Member(3, "tcp://a:1", "tcp://a:2", "tcp://a:3", secure_client="tls://a:4"),
            Member(4, "tcp://a:5", "tcp://a:6", secure_client="tls://a:7"),
        ],
        version=0x100000000,
    )
    assert quorum.text() == (
        "server.1=[::1]:2881:3881:participant\nserver.2=127.0.0.1:2882:3882:observer;127.0.0.1:2182\n"
        "server.3=a:1:2:participant;a:3;a:4\nserver.4=a:5:6:participant;;a:7\nversion=100000000"
    )


def test_text_of_groups() -> None:
    lines = QuorumConfig([member(1, group=1), member(3, group=2, weight=4), member(2, group=1)]).text().splitlines()
    assert lines == [
        "server.1=memory://quorum1|memory://election1:participant",
        "server.2=memory://quorum2|memory://election2:participant",
        "server.3=memory://quorum3|memory://election3:participant",
        "group.1=1:2",
        "group.2=3",
        "weight.1=1",
        "weight.2=1",
        "weight.3=4",
        "version=0",
    ]


def test_equal_by_version_or_by_members() -> None:
    assert config(1, 2, version=7) == config(1, 2, 3, version=7)
    assert config(1, 2, version=7) == config(2, 1, version=8)
    assert config(1, 2, version=7) != config(1, 2, observers=[3], version=8)
    assert config(1, 2, version=7) != QuorumConfig([member(1), member(2, client="tcp://127.0.0.1:2181")], 8)
    assert config(1) != "version=0"
