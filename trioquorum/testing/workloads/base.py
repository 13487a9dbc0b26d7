"""What all workloads share: clients that never give up, and setting the stage."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import ClassVar, Final

import trio

from trioquorum.client import Client
from trioquorum.errors import Code, ConnectFailed, RequestFailed
from trioquorum.testing.truth import Truth
from trioquorum.testing.workloads.scene import SESSION_TIMEOUT_MS, Scene

Work = Callable[[Client], Awaitable[None]]

PAUSE_S_MAX: Final = 20.0
"""A workload looks at least this often whether the scene is over."""

RETRY_S: Final = 0.5
"""Pause of a client that found nobody who serves."""


class Workload(ABC):
    """Some clients at work. ``run`` ends soon after the scene is over; ``check`` then knows what must hold.

    What holds for every history (``checkers.check_history``) need not be checked again.
    """

    name: ClassVar[str]
    paths: ClassVar[tuple[str, ...]]
    """Nodes that must be there before work begins, parents first."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.rng = scene.rng
        self._number = 0

    @abstractmethod
    async def run(self) -> None:
        """Let the clients work; survives whatever servers and links do."""

    @abstractmethod
    def check(self, truth: Truth) -> None:
        """Hold what this workload knows against what was committed.

        Raises:
            InvariantViolation: they contradict each other.
        """

    @property
    def over(self) -> bool:
        """Whether no new calls should be made."""
        return self.scene.over or self.scene.history.full

    def unique(self) -> bytes:
        """A value that was never written before."""
        self._number += 1
        return f"{self.name}-{self._number}".encode()

    async def pause(self, times: float = 1.0) -> None:
        """Wait as clients do between calls; ``times`` as long in the mean, ``PAUSE_S_MAX`` at most."""
        await trio.sleep(min(self.rng.expovariate(1 / (self.scene.pause_s * times)), PAUSE_S_MAX))

    async def prepare(self, client: Client) -> None:
        """Make ``paths``; what is there already stays.

        Raises:
            RequestFailed: it could not be done now.
        """
        await trio.lowlevel.checkpoint()
        for path in self.paths:
            await unless(client.create(path), Code.NODEEXISTS)

    async def work(
        self, name: str, step: Work, *, session_timeout_ms: int = SESSION_TIMEOUT_MS, read_only: bool = False
    ) -> None:
        """Be one client: ``step`` after step with pauses between them, in a new session whenever one is over."""
        await trio.lowlevel.checkpoint()
        while not self.over:
            try:
                scene = self.scene
                async with scene.client(name, session_timeout_ms=session_timeout_ms, read_only=read_only) as client:
                    await self._steps(client, step)
            except ConnectFailed:
                await trio.sleep(RETRY_S)

    async def _steps(self, client: Client, step: Work) -> None:
        await trio.lowlevel.checkpoint()
        prepared = False
        while not self.over and not client.state.ended:
            try:
                if prepared:
                    await step(client)
                else:
                    await self.prepare(client)
                    prepared = True
            except RequestFailed:
                # What became of it, the history knows.
                await trio.lowlevel.checkpoint()
            await self.pause()


async def unless(call: Awaitable[object], *expected: Code) -> bool:
    """Await ``call``; false if it failed with one of these codes.

    Raises:
        RequestFailed: it failed with another one.
    """
    await trio.lowlevel.checkpoint()
    try:
        await call
    except RequestFailed as failure:
        if failure.code not in expected:
            raise
        return False
    return True
