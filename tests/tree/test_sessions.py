import pytest
from hypothesis import given, strategies as st

from trioquorum.errors import Code, RequestFailed
from trioquorum.tree.sessions import SessionIds, SessionTracker, TouchTable


def test_ids_hold_the_server_and_the_clock() -> None:
    ids = SessionIds(1, 1_700_000_000_000)
    first = ids.next()
    assert first >> 56 == 1
    assert first == 1 << 56 | (1_700_000_000_000 << 24 & 0xFFFF_FFFF_FFFF_FFFF) >> 8
    assert [ids.next(), ids.next()] == [first + 1, first + 2]


def test_ids_are_signed_and_leave_out_0_and_the_mark_of_containers() -> None:
    assert SessionIds(255, 5).next() >> 56 == -1
    assert SessionIds(0, 0).next() == 1
    assert SessionIds(128, 0).next() == -(2**63) + 1


def test_a_later_start_never_meets_earlier_ids() -> None:
    early, late = SessionIds(3, 1_700_000_000_000), SessionIds(3, 1_700_000_000_100)
    given_early = [early.next() for _ in range(1000)]
    assert late.next() > max(given_early)


def test_sessions_expire_at_the_tick_behind_their_timeout() -> None:
    tracker = SessionTracker(2000)
    tracker.add(1, 4000, 500)
    assert tracker.next_deadline() == 6000
    assert tracker.expired(5999) == []
    assert tracker.expired(6000) == [1]
    assert tracker.expired(60_000) == []
    assert tracker.next_deadline() is None


def test_a_touch_moves_the_deadline() -> None:
    tracker = SessionTracker(2000)
    tracker.add(1, 4000, 0)
    tracker.add(2, 4000, 0)
    assert tracker.touch(1, 3000)
    assert tracker.touch(2, 100, 30_000)
    assert tracker.expired(6000) == []
    assert tracker.expired(8000) == [1]
    assert tracker.touch(2, 20_000)
    assert tracker.next_deadline() == 52_000


def test_adding_a_known_session_touches_it_and_keeps_its_owner() -> None:
    tracker = SessionTracker(2000)
    tracker.add(1, 4000, 0)
    tracker.set_owner(1, "a")
    tracker.add(1, 8000, 0)
    assert tracker.next_deadline() == 10_000
    with pytest.raises(RequestFailed):
        tracker.check(1, "b")


def test_an_expired_or_closing_session_cannot_be_touched_or_used() -> None:
    tracker = SessionTracker(1000)
    tracker.add(1, 1000, 0)
    tracker.add(2, 1000, 0)
    tracker.set_closing(2)
    assert tracker.expired(5000) == [1]
    for session in (1, 2, 3):
        assert not tracker.touch(session, 0)
        with pytest.raises(RequestFailed) as failed:
            tracker.check(session, "me")
        assert failed.value.code is Code.SESSIONEXPIRED


def test_owners() -> None:
    tracker = SessionTracker(1000)
    tracker.add(1, 1000, 0)
    tracker.check(1, "a")
    tracker.check(1, "a")
    with pytest.raises(RequestFailed) as failed:
        tracker.check(1, "b")
    assert failed.value.code is Code.SESSIONMOVED
    tracker.set_owner(1, "b")
    tracker.check(1, "b")
    tracker.set_owner(9, "b")
    assert 9 not in tracker


def test_removed_sessions_are_forgotten() -> None:
    tracker = SessionTracker(1000)
    for session in (1, 2):
        tracker.add(session, 1000, 0)
    tracker.set_closing(1)
    for session in (1, 2, 3):
        tracker.remove(session)
    assert len(tracker) == 0
    assert tracker.next_deadline() is None
    tracker.add(1, 1000, 0)
    assert tracker.deadlines() == {2000: [1]}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9000), st.integers(0, 3000)), max_size=40))
def test_nobody_expires_early_and_everybody_does_within_a_tick(steps: list[tuple[int, int, int]]) -> None:
    tracker = SessionTracker(700)
    now = 0
    due: dict[int, int] = {}
    for session, timeout, pause in steps:
        now += pause
        for gone in tracker.expired(now):
            assert due.pop(gone) < now
            tracker.remove(gone)
        assert all(at + 700 >= now for at in due.values())
        if session in due:
            assert tracker.touch(session, now, timeout)
        else:
            tracker.add(session, timeout, now)
        due[session] = now + timeout


def test_touches_are_handed_over_once() -> None:
    table = TouchTable()
    table.touch(1, 4000)
    table.touch(2, 4000)
    table.touch(1, 5000)
    assert table.swap() == [(1, 5000), (2, 4000)]
    assert table.swap() == []


def test_time_in_which_nobody_could_be_heard_is_not_held_against_sessions() -> None:
    tracker = SessionTracker(1000)
    tracker.add(1, 4000, 0)
    tracker.add(2, 9000, 0)
    tracker.add(3, 4000, 20_500)  # heard of when it was over
    tracker.postpone(20_000, 20_500)
    assert tracker.deadlines() == {25_000: [1, 3], 30_000: [2]}
    assert tracker.expired(24_999) == []
    assert tracker.touch(1, 24_500)
    assert tracker.expired(30_000) == [3, 1, 2]
