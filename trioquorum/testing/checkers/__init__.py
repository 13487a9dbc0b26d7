"""Proofs that what clients saw was right: a ``History`` held against the ``Truth`` its servers committed.

Nothing here knows what the servers ran on. Every checker raises ``InvariantViolation`` with the rule and the facts
that contradict each other, and takes time that grows like n log n.
"""

from trioquorum.testing.checkers import answers, locks, order, sequences, sessions, trees, watches
from trioquorum.testing.history import History
from trioquorum.testing.truth import Truth


def check_history(history: History, truth: Truth) -> None:
    """Everything that holds for every history.

    Raises:
        InvariantViolation: something does not.
    """
    order.check(history)
    answers.check(history, truth)
    sessions.check(history, truth)
    sequences.check(history, truth)
    watches.check(history, truth)


__all__ = ["answers", "check_history", "locks", "order", "sequences", "sessions", "trees", "watches"]
