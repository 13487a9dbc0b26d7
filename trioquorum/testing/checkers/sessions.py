"""Sessions end once, never too early, and take their ephemerals with them."""

from typing import Final

from trioquorum.client import State
from trioquorum.errors import Code
from trioquorum.invariants import invariant
from trioquorum.testing.history import Call, History, Told, Turned
from trioquorum.testing.truth import Fate, Truth
from trioquorum.wire.ops import Op

CLOCK_SLACK_MS: Final = 20
"""How far wall clocks of leaders may differ in an ensemble whose clocks are set."""


def check(history: History, truth: Truth, *, clock_slack_ms: int = CLOCK_SLACK_MS) -> None:
    """Of all sessions, and what their clients were told. Ephemerals: the model's rules in ``truth``, and its end.

    Raises:
        InvariantViolation: a session expired too early or was told so while it lived, a goodbye was ignored, or an
            ephemeral has no session.
    """
    for fate in truth.fates.values():
        _check_expiry(fate, clock_slack_ms)
    for record in history.sessions:
        if record.session:
            told = truth.fates.get(record.session)
            invariant(told is not None, "a session that was granted exists", session=record.session)
            assert told is not None
            _check_told(record.seen, told)
    for session, paths in truth.model.ephemerals.items():
        lives = session in truth.model.sessions
        invariant(lives, "ephemerals go with their session", session=session, paths=[*paths][:3])


def _check_expiry(fate: Fate, slack_ms: int) -> None:
    if fate.closed is not None and fate.expired:
        silent_ms = fate.closed_ms - fate.last_ms
        invariant(
            silent_ms + slack_ms >= fate.timeout_ms,
            "a session lives as long as was granted",
            session=fate.session,
            timeout_ms=fate.timeout_ms,
            last_write_ms=fate.last_ms,
            expired_ms=fate.closed_ms,
        )


def _check_told(seen: list[Call | Told | Turned], fate: Fate) -> None:
    for it in seen:
        if isinstance(it, Turned):
            if it.state is State.EXPIRED:
                invariant(
                    fate.closed is not None,
                    "only sessions that ended are called expired",
                    session=fate.session,
                    told_at=it.at,
                    created=fate.created,
                )
        elif isinstance(it, Call) and not it.read_only:
            if it.error is Code.SESSIONEXPIRED and it.zxid is not None:
                invariant(
                    fate.closed is not None,
                    "only sessions that ended are refused",
                    session=fate.session,
                    xid=it.xid,
                    zxid=it.zxid,
                )
            if it.op == Op.CLOSE_SESSION and it.succeeded:
                invariant(
                    fate.closed == it.zxid,
                    "a goodbye ends the session",
                    session=fate.session,
                    told=it.zxid,
                    closed=fate.closed,
                )
            elif it.zxid is not None and fate.closed is not None and it.error is not Code.SESSIONEXPIRED:
                invariant(
                    it.zxid < fate.closed,
                    "nobody is served after the end",
                    session=fate.session,
                    xid=it.xid,
                    zxid=it.zxid,
                    closed=fate.closed,
                )
