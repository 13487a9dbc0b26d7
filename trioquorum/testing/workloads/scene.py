"""What a workload is given: clients, chance and a history, whatever the servers run on."""

import random
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from trioquorum.client import Client
from trioquorum.testing.history import History

SESSION_TIMEOUT_MS = 10_000


class Scene(Protocol):
    """One workload's place in a run.

    ``rng`` is its own, ``history`` that of all workloads, ``pause_s`` the mean time its clients wait between calls.
    Once the run is ``over`` it makes no new calls; those under way end by themselves.
    """

    rng: random.Random
    history: History
    pause_s: float

    @property
    def over(self) -> bool:
        """Whether the run winds down."""

    def client(
        self, name: str, *, session_timeout_ms: int = SESSION_TIMEOUT_MS, read_only: bool = False
    ) -> AbstractAsyncContextManager[Client]:
        """A new session, recorded in ``history`` under this name, of a client that knows all peers in random order.

        With ``read_only`` a peer without a leader will do.

        Raises:
            ConnectFailed: nobody serves within the client's connect timeout.
        """

    def disconnect(self, name: str) -> None:
        """Break every connection of this client now; it looks for another peer."""

    def isolate(self, name: str) -> None:
        """Let nothing of this client through any more, its connections included; until ``rejoin``."""

    def rejoin(self, name: str) -> None:
        """End ``isolate``."""
