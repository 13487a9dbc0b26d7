"""How many learners a leader brings up to date at the same time (quorum-protocol §8.6)."""


class SyncThrottle:
    """At most ``limit`` synchronisations under way. Who is essential is never refused, but counts."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.under_way = 0

    def begin(self, *, essential: bool) -> bool:
        """Whether one more may begin; each that does must ``end``."""
        if self.under_way >= self.limit and not essential:
            return False
        self.under_way += 1
        return True

    def end(self) -> None:
        """One that began is over."""
        self.under_way -= 1
