"""Watches that last: what the checker of histories makes of each."""

import pytest

from tests.sim.test_checkers import CHANGED, CHILDREN, CREATED, A, B, Story, reconnects, refused, two_sessions
from trioquorum.client import State
from trioquorum.errors import Code
from trioquorum.testing.history import Call
from trioquorum.wire.ops import Op
from trioquorum.wire.records import PathRequest, PathTypeRequest
from trioquorum.wire.txn import DeleteTxn, MultiTxn, SetDataTxn, SubTxn

LASTS = "a lasting watch tells every change, in order, before it is seen"


def adds(story: Story, path: str, zxid: int, *, recursive: bool = False) -> Call:
    """B watches ``path`` from ``zxid`` on."""
    call = story.begins(B, Op.ADD_WATCH, PathTypeRequest(path, int(recursive)), watched=True)
    return story.ends(call, zxid)


def lasting(path: str = "/a", *, recursive: bool = False) -> Story:
    """``/a`` has been there since zxid 3, and B watches ``path`` since then; A makes ``/a/b`` at 4, changes it at 5."""
    story = two_sessions()
    story.turns(B, State.CONNECTED)
    story.creates(A, "/a")
    adds(story, path, 3, recursive=recursive)
    story.creates(A, "/a/b")
    story.sets(A, "/a/b", b"1", 1)
    return story


def shows(story: Story, zxid: int) -> None:
    """B gets a reply that says nothing but ``zxid``."""
    story.ends(story.begins(B, Op.GET_ACL, PathRequest("/")), zxid)


def test_lasting_watches_tell_all_and_each_its_own() -> None:
    story = lasting()
    story.told(B, CHILDREN, "/a", 4)
    story.sets(A, "/a", b"1", 1)
    story.told(B, CHANGED, "/a", 6)
    shows(story, 6)
    story.check()
    story = lasting(recursive=True)
    story.told(B, CREATED, "/a/b", 4)
    story.told(B, CHANGED, "/a/b", 5)
    shows(story, 5)
    story.check()


@pytest.mark.parametrize("recursive", [False, True])
def test_a_lasting_watch_that_misses_a_change(recursive: bool) -> None:
    story = lasting("/a" if not recursive else "/", recursive=recursive)
    shows(story, 4)
    refused(story, LASTS, "zxid=4, due=", "told=[], seen_by='reply 2'")


def test_a_lasting_watch_that_goes_on_behind_a_hole() -> None:
    story = lasting(recursive=True)
    story.told(B, CHANGED, "/a/b", 5)
    refused(story, LASTS, "zxid=4, due=", "told=[], seen_by='NODE_DATA_CHANGED'")


def test_a_lasting_watch_that_tells_twice() -> None:
    story = lasting()
    story.told(B, CHILDREN, "/a", 4)
    story.told(B, CHILDREN, "/a", 4)
    shows(story, 4)
    refused(story, LASTS, "zxid=4, due=")


def test_a_lasting_watch_that_tells_what_was_seen() -> None:
    story = lasting()
    story.told(B, CHILDREN, "/a", 4)
    shows(story, 5)
    story.told(B, CHILDREN, "/a", 4)
    refused(story, "only what was asked for is told, and once", "zxid=4")


def test_a_recursive_watch_that_tells_of_children() -> None:
    story = lasting(recursive=True)
    story.told(B, CHILDREN, "/a", 4)
    refused(story, "only what was asked for is told, and once", "event='NODE_CHILDREN_CHANGED'")


def test_one_transaction_told_in_another_order() -> None:
    def multi() -> Story:
        story = lasting()
        story.told(B, CHILDREN, "/a", 4)
        first, second = SetDataTxn("/a", b"1", 1), DeleteTxn("/a/b")
        parts = [SubTxn(Op.SET_DATA, first.encode()), SubTxn(Op.DELETE, second.encode())]
        story.txn(A, 9, Op.MULTI, MultiTxn(parts))
        return story

    story = multi()
    story.told(B, CHANGED, "/a", 6)
    story.told(B, CHILDREN, "/a", 6)
    shows(story, 6)
    story.check()
    story = multi()
    story.told(B, CHILDREN, "/a", 6)
    story.told(B, CHANGED, "/a", 6)
    shows(story, 6)
    refused(story, LASTS, "zxid=6")


def test_a_lasting_watch_is_removed() -> None:
    story = lasting()
    story.told(B, CHILDREN, "/a", 4)
    story.ends(story.begins(B, Op.REMOVE_WATCHES, PathTypeRequest("/a", 4), watched=True), 5)
    story.sets(A, "/a", b"1", 1)
    shows(story, 6)
    story.check()
    story.told(B, CHANGED, "/a", 6)
    refused(story, "only what was asked for is told, and once", "zxid=6")


def test_a_lasting_watch_that_its_server_does_not_know() -> None:
    story = lasting()
    story.told(B, CHILDREN, "/a", 4)
    removing = story.begins(B, Op.REMOVE_WATCHES, PathTypeRequest("/a", 4), watched=True)
    story.ends(removing, 5, error=Code.NOWATCHER)
    refused(story, "a server knows the watches that it was told of", "watch=('/a', False)")


def test_what_happens_while_its_client_is_away_a_lasting_watch_need_not_tell() -> None:
    story = lasting(recursive=True)
    reconnects(story)
    shows(story, 4)
    story.told(B, CHANGED, "/a/b", 5)
    shows(story, 5)
    story.check()
    story.sets(A, "/a/b", b"2", 2)
    shows(story, 6)
    refused(story, LASTS, "zxid=6")


def test_from_the_first_event_after_a_reconnect_on_nothing_is_missed() -> None:
    story = lasting(recursive=True)
    reconnects(story)
    story.told(B, CREATED, "/a/b", 4)
    shows(story, 5)
    refused(story, LASTS, "zxid=5")


def test_the_next_server_tells_again_what_was_not_shown() -> None:
    story = lasting(recursive=True)
    story.told(B, CREATED, "/a/b", 4)
    reconnects(story)
    story.told(B, CREATED, "/a/b", 4)
    story.told(B, CHANGED, "/a/b", 5)
    shows(story, 5)
    story.check()
    reconnects(story)
    story.told(B, CHANGED, "/a/b", 5)
    refused(story, "only what was asked for is told, and once", "zxid=5")


def test_a_lasting_watch_that_nobody_waited_for_ends_with_the_connection() -> None:
    story = two_sessions()
    story.turns(B, State.CONNECTED)
    story.creates(A, "/a")
    adds(story, "/a", 3).given_up = True
    story.sets(A, "/a", b"1", 1)
    story.told(B, CHANGED, "/a", 4)
    reconnects(story)
    story.sets(A, "/a", b"2", 2)
    shows(story, 5)
    story.check()
    story.told(B, CHANGED, "/a", 5)
    refused(story, "only what was asked for is told, and once", "zxid=5")
