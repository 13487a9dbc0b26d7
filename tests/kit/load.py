"""A write load over kazoo that remembers every acknowledgement, for tests that kill peers meanwhile."""

import threading
import time
from typing import Any, Self

from kazoo.client import KazooClient
from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    KazooException,
    OperationTimeoutError,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError

from tests.kit.processes import Ensemble

UNKNOWN = (ConnectionLoss, SessionExpiredError, ConnectionClosedError, OperationTimeoutError, KazooTimeoutError)
"""After these a write may or may not have happened."""


class Writer(threading.Thread):
    """One client of all peers: counts up in its own znode, reads it back, and makes sequential nodes."""

    def __init__(self, ensemble: Ensemble, base: str, number: int) -> None:
        super().__init__(name=f"writer {number}", daemon=True)
        self.counter = f"{base}/counter{number}"
        self.prefix = f"{base}/seq/w{number}-"
        self.acked_value = -1
        self.acked_version = -1
        self.acked_zxid = -1
        self.highest_tried = -1
        self.created: list[str] = []
        self.acknowledged = 0
        self.unknown = 0
        self.longest_gap_s = 0.0
        self.problems: list[str] = []
        self.session_losses = 0
        self._ensemble = ensemble
        self._halt = threading.Event()

    def run(self) -> None:
        """Write until ``halt``."""
        client = self._ensemble.client(timeout_s=4.0)
        last = time.monotonic()
        while not self._halt.is_set():
            try:
                self._round(client)
            except UNKNOWN as error:
                self.unknown += 1
                if isinstance(error, SessionExpiredError):
                    self.session_losses += 1
                time.sleep(0.005)
            except KazooException as error:
                self.problems.append(f"{self.name}: {error!r}")
                break
            else:
                now = time.monotonic()
                self.longest_gap_s = max(self.longest_gap_s, now - last)
                last = now
        client.stop()
        client.close()

    def _round(self, client: KazooClient) -> None:
        self.highest_tried += 1
        value = self.highest_tried
        stat = client.set(self.counter, str(value).encode())
        self.acknowledged += 1
        if stat.version <= self.acked_version or stat.mzxid <= self.acked_zxid:
            self.problems.append(f"{self.name}: {stat} after version {self.acked_version}, zxid {self.acked_zxid:#x}")
        self.acked_value, self.acked_version, self.acked_zxid = value, stat.version, stat.mzxid
        data, seen = client.get(self.counter)
        if seen.version < stat.version or int(data) < value:
            self.problems.append(f"{self.name}: wrote {value} as {stat}, then read {data!r} {seen}")
        self.created.append(client.create(self.prefix, str(value).encode(), sequence=True))
        self.acknowledged += 1

    def halt(self) -> None:
        """Stop after the present round."""
        self._halt.set()


class Load:
    """Several writers; as a context manager they run inside the block."""

    kind: type[Writer] = Writer

    def __init__(self, ensemble: Ensemble, writers: int = 4) -> None:
        self.base = "/load"
        client = ensemble.client()
        client.create(self.base)
        client.create(f"{self.base}/seq")
        self.writers = [self.kind(ensemble, self.base, n) for n in range(writers)]
        for writer in self.writers:
            client.create(writer.counter, b"-1")
        client.stop()
        client.close()

    def __enter__(self) -> Self:
        for writer in self.writers:
            writer.start()
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self.writers:
            writer.halt()
        for writer in self.writers:
            writer.join(60)

    @property
    def acknowledged(self) -> int:
        """Acknowledged writes so far."""
        return sum(writer.acknowledged for writer in self.writers)

    def check(self, tree: dict[str, tuple[bytes, tuple[Any, ...]]]) -> list[str]:
        """Everything that contradicts what was acknowledged, given the tree of one peer."""
        problems = [problem for writer in self.writers for problem in writer.problems]
        for writer in self.writers:
            if writer.is_alive():
                problems.append(f"{writer.name} still runs")
            data, stat = tree[writer.counter]
            if not writer.acked_value <= int(data) <= writer.highest_tried:
                problems.append(f"{writer.counter} is {data!r}, acknowledged was {writer.acked_value}")
            if stat[4] < writer.acked_version:
                problems.append(f"{writer.counter} has version {stat[4]}, acknowledged was {writer.acked_version}")
            problems += [f"{path} was acknowledged and is gone" for path in writer.created if path not in tree]
            if len(set(writer.created)) != len(writer.created):
                problems.append(f"{writer.name} was given a sequential name twice")
        return problems
