"""What a peer without a leader answers: old data, and nothing that takes a leader (client-protocol §19)."""

from typing import Final

from trioquorum.errors import Code
from trioquorum.invariants import invariant
from trioquorum.testing.checkers.requests import WRITES
from trioquorum.testing.history import Call
from trioquorum.testing.truth import Truth
from trioquorum.wire.ops import Op

REFUSED: Final = WRITES - {Op.CLOSE_SESSION} | {Op.SYNC}
_COUNTER_MASK: Final = 0xFFFFFFFF


def shows_history(call: Call, truth: Truth) -> bool:
    """Whether ``call`` is a read that must show the committed history up to its zxid.

    A peer that was started again shows all of its log, of which the end may never be committed; nobody can know then.

    Raises:
        InvariantViolation: a write was not refused.
    """
    if call.zxid is None or call.op == Op.CLOSE_SESSION:
        return False
    if call.op in REFUSED:
        invariant(
            call.error is Code.NOTREADONLY,
            "who has no leader refuses writes",
            client=call.client,
            xid=call.xid,
            op=call.op.name,
            told=call.error,
        )
        return False
    return truth.is_committed(call.zxid) or not call.zxid & _COUNTER_MASK
