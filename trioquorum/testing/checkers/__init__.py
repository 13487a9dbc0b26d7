"""Proofs that what clients saw was right: a ``History`` held against the ``Truth`` its servers committed.

Nothing here knows what the servers ran on. Every checker raises ``InvariantViolation`` with the rule and the facts
that contradict each other, and takes time that grows like n log n.
"""

from trioquorum.testing.checkers import answers, locks, order, sequences, sessions, trees, watches
from trioquorum.testing.history import History
from trioquorum.testing.truth import Truth


def check_history(history: History, truth: Truth, *, clocks_differ_ms: int = 0) -> None:
    """Everything that holds for every history; ``clocks_differ_ms``: how far servers' wall clocks are apart at most.

    Raises:
        InvariantViolation: something does not.
    """
    order.check(history)
    answers.check(history, truth)
    sessions.check(history, truth, clock_slack_ms=sessions.CLOCK_SLACK_MS + clocks_differ_ms)
    sequences.check(history, truth)
    watches.check(history, truth)


__all__ = ["answers", "check_history", "locks", "order", "sequences", "sessions", "trees", "watches"]
