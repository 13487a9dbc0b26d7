"""Locks made of ephemeral sequential nodes: whoever acts on a lock holds it, by the order of zxids."""

from trioquorum.invariants import invariant
from trioquorum.testing.truth import Truth

DIGITS = 10


def check(truth: Truth, lock: str, fence: str) -> None:
    """Each change of ``fence`` was made by the session whose node below ``lock`` has the lowest number.

    Raises:
        InvariantViolation: somebody else held the lock then.
    """
    for txn, model in truth.replay():
        queue = model.nodes[lock].children if lock in model.nodes else {}
        first = min(queue, key=lambda name: name[-DIGITS:], default=None)
        holder = None if first is None else model.nodes[f"{lock}/{first}"].owner
        for kind, path in model.apply(txn):
            if path == fence and kind.name == "NODE_DATA_CHANGED":
                invariant(
                    holder == txn.header.session,
                    "one holds a lock",
                    lock=lock,
                    zxid=txn.header.zxid,
                    acted=txn.header.session,
                    held=holder,
                    first=first,
                )
