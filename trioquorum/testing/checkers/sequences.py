"""Sequential nodes: below each parent every number is given once, and numbers rise."""

from trioquorum.invariants import invariant
from trioquorum.testing.checkers.requests import SEQUENTIAL, WRITES, parts_of_call
from trioquorum.testing.history import Call, History
from trioquorum.testing.model import parent, parts_of
from trioquorum.testing.truth import Truth

DIGITS = 10


def check(history: History, truth: Truth) -> None:
    """Of all sequential creates that happened, acknowledged or not.

    Raises:
        InvariantViolation: a number came twice or fell.
    """
    asked: dict[tuple[int, int], Call] = {}
    for call in history.all_calls():
        if call.op in WRITES and any(part.flags in SEQUENTIAL for part in parts_of_call(call)):
            asked[call.session, call.xid] = call
    newest: dict[str, tuple[int, int]] = {}
    for zxid, txn in truth.txns:
        found = asked.get((txn.header.session, txn.header.cxid))
        if found is None:
            continue
        for part, (_, record) in zip(parts_of_call(found), parts_of(txn), strict=False):
            if part.flags in SEQUENTIAL:
                path: str = getattr(record, "path", "")
                above, number = parent(path), int(path[-DIGITS:])
                before, since = newest.get(above, (-1, 0))
                invariant(
                    number > before,
                    "sequence numbers rise",
                    parent=above,
                    number=number,
                    zxid=zxid,
                    before=before,
                    before_zxid=since,
                )
                newest[above] = number, zxid
