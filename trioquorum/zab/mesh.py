"""Which of the election links between two peers survives (quorum-protocol §3.3).

Of each pair of peers the link that the one with the higher id dialled is kept. A peer with the lower id dials too, but
only to be called back: that is how the other one learns that it is there.
"""

from collections.abc import Container
from enum import Enum


class Verdict(Enum):
    """What to do with an incoming link whose dialler said who it is."""

    KEEP = "it replaces the link there was"
    CALL_BACK = "end the link there was, close this one, dial"
    CROSSED = "close it: our own dial crossed it"
    OURSELVES = "it says it is us"
    STRANGER = "not in the configuration"


def keeps_dialled(my_id: int, sid: int) -> bool:
    """Whether a link that we dialled to ``sid`` stays; otherwise ``sid`` calls back."""
    return my_id > sid


def judge_incoming(my_id: int, sid: int, known: Container[int], *, link_is_young: bool) -> Verdict:
    """What to do with a link that ``sid`` dialled; ``link_is_young``: our link to it has only just come up.

    A caller believes it has no link, so an older one is dead and ends. A young one is fine: the call left before it
    was there.
    """
    if sid == my_id:
        return Verdict.OURSELVES
    if sid not in known:
        return Verdict.STRANGER
    if sid > my_id:
        return Verdict.KEEP
    return Verdict.CROSSED if link_is_young else Verdict.CALL_BACK
