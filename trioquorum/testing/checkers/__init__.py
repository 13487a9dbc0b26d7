"""Proofs that what clients saw was right: a ``History`` held against the ``Truth`` its servers committed.

Nothing here knows what the servers ran on. Every checker raises ``InvariantViolation`` with the rule and the facts
that contradict each other, and takes time that grows like n log n.
"""

from trioquorum.testing.checkers import answers, order, sessions
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


__all__ = ["answers", "check_history", "order", "sessions"]
