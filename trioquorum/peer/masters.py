"""Whom an observer asks to feed it (quorum-protocol §13)."""

import random
from collections import deque
from collections.abc import Collection, Iterator

from trioquorum.config import ServerConfig
from trioquorum.transport import Address


class Masters:
    """Observer masters in an order of this peer's own, so that observers spread over them. Outlives roles.

    The leader is none of them: it feeds observers at its quorum port, and they are here to spare it.
    """

    def __init__(self, config: ServerConfig, rng: random.Random) -> None:
        known = [(spec.id, spec.observer_master) for spec in config.peers if spec.observer_master is not None]
        if known:
            rng.shuffle(known)
        self._known = deque(known)

    def any_of(self, voters: Collection[int], leader: int) -> bool:
        """Whether there is a master among ``voters``."""
        return any(sid in voters and sid != leader for sid, _ in self._known)

    def one_pass(self, voters: Collection[int], leader: int) -> Iterator[tuple[int, Address]]:
        """Each master among ``voters`` once, beginning behind the one that was taken last."""
        for _ in range(len(self._known)):
            sid, address = self._known[0]
            self._known.rotate(-1)
            if sid in voters and sid != leader:
                yield sid, address
