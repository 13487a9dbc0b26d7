"""Which of the election links between two peers survives (quorum-protocol §3.3), and when one is dead.

Of each pair of peers the link that the one with the higher id dialled is kept. A peer with the lower id dials too, but
only to be called back: that is how the other one learns that it is there.

A link can be dead although it is up at both ends: after a partition TCP waits about as long again before it tries what
was lost, and takes whatever we send meanwhile. Only the silence of the other end tells.
"""

from collections.abc import Container
from enum import Enum
from typing import Final

SILENT_RESENDS_MAX: Final = 2
"""So many times a vote is sent again over a link from which nothing comes; then another link is tried.

A settled peer answers each one, a looking peer sends its own again. One whose pauses have grown longer than ours may be
silent in good health: a new link costs little, makes both ends say their last word again, and as our own pauses
double there are few of them."""


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


def is_dead(silent_resends: int, *, link_is_young: bool) -> bool:
    """Whether a link gives way to a new one: ``silent_resends`` over it since anything came, or since it came up."""
    return silent_resends >= SILENT_RESENDS_MAX and not link_is_young


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
