"""What the operator hears of quotas that are exceeded: not every write that does so (client-protocol §15)."""

from collections.abc import Callable
from typing import Final

from trioquorum.events import Events, QuotaExceeded
from trioquorum.tree.quotas import Excess

INTERVAL_S: Final = 60.0
"""So long nothing more is said of the same quota."""

QUOTAS_MAX: Final = 1000
"""So many quotas are remembered; beyond that all are forgotten, so that some are spoken of too often."""


class QuotaReports:
    """Events, at most one an interval for each quota and kind of limit."""

    def __init__(self, events: Events, clock: Callable[[], float]) -> None:
        self._events = events
        self._clock = clock
        self._told: dict[tuple[str, str, bool], float] = {}

    def __call__(self, excess: Excess, *, refused: bool) -> None:
        """A write exceeds a quota."""
        now = self._clock()
        key = (excess.path, excess.kind, refused)
        if now - self._told.get(key, -INTERVAL_S) < INTERVAL_S:
            return
        if len(self._told) >= QUOTAS_MAX:
            self._told.clear()
        self._told[key] = now
        self._events.emit(
            QuotaExceeded(
                path=excess.path,
                kind=excess.kind,
                hard=excess.hard,
                limit=excess.limit,
                found=excess.found,
                refused=refused,
            )
        )
