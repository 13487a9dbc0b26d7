"""A peer of PySyncObj and the callers inside it, which is how PySyncObj is used; ``syncobj.py`` tells it what to do.

Arguments: the port it is told on, its own address, the addresses of the others after commas, the folder for its files.
It is told in lines of JSON, on one connection at a time, and answers each with one. ``begin``: callers each keep
``depth`` calls under way, every answer makes the next call. ``count`` and ``freeze`` are around the measured time.
``end`` waits for what is under way, and then compares what this peer holds with what its callers wrote last.
"""

import json
import socket
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, Final

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated

END_S: Final = 60.0
PERIOD_S: Final = 0.01
"""How long a leader gathers calls; 0.1 s if nothing is said, with which 16×64 is an eighth as fast.

With 2 ms, and far more often with ``appendEntriesUseBatch=False``, followers truncated entries that they had applied;
once a call was applied twice, which ended the run.
"""
SNAPSHOT_EVERY: Final = 100_000
"""Calls from one dump to the next, as with ZooKeeper and etcd; 5,000 if nothing is said."""


class Store(SyncObj):  # type: ignore[misc]  # it has no types
    """Values by key, with a version that rises by one at each put."""

    def __init__(self, own: str, others: list[str], folder: Path) -> None:
        self._values: dict[str, tuple[int, bytes]] = {}
        conf = SyncObjConf(
            journalFile=str(folder / "journal"),
            fullDumpFile=str(folder / "dump"),
            appendEntriesPeriod=PERIOD_S,
            autoTickPeriod=PERIOD_S,
            logCompactionMinEntries=SNAPSHOT_EVERY,
        )
        super().__init__(own, others, conf)

    @replicated
    def put(self, key: str, value: bytes) -> int:
        """The key's new version, from 1 on."""
        version = self._values.get(key, (0, b""))[0] + 1
        self._values[key] = (version, value)
        return version

    @replicated
    def forget(self, root: str) -> int:
        """How many keys there were below a root that there is no more."""
        gone = [key for key in self._values if key.startswith(root)]
        for key in gone:
            del self._values[key]
        return len(gone)

    def held(self, key: str) -> tuple[int, bytes]:
        """Version and value that this peer has."""
        return self._values[key]

    def mode(self) -> str | None:
        """None while this peer serves nobody."""
        leader = self._getLeader()
        if leader is None or not self._isReady():
            return None
        return "leader" if self._isLeader() else "follower"


class Caller:
    """Keeps calls under way; each answer must be the one that is due. ``creates``: every call is for a new key."""

    def __init__(self, store: Store, load: "Load", key: str, creates: bool) -> None:
        self.key = key
        self.sent = 0
        self.answered = 0
        self.last = b""
        self._store = store
        self._load = load
        self._creates = creates
        self._began: deque[float] = deque()

    def call(self) -> None:
        """One more call."""
        self.sent += 1
        key = f"{self.key}-{self.sent}" if self._creates else self.key
        self.last = b"%0*d" % (self._load.value_bytes, self.sent)
        self._began.append(time.perf_counter())
        self._store.put(key, self.last, callback=self._called)

    def _called(self, version: int | None, error: int) -> None:
        """In PySyncObj's thread, in the order of the calls."""
        load = self._load
        self.answered += 1
        due = 1 if self._creates else self.answered
        if error != FAIL_REASON.SUCCESS or version != due:
            load.failure = load.failure or f"due: version {due} of {self.key}; came: {version}, reason {error}"
            return
        latency_s = time.perf_counter() - self._began.popleft()
        if load.counting:
            load.latencies[int(latency_s * 1e6)] += 1
        if load.going and not load.failure:
            self.call()


class Load:
    """What all callers of this peer do together."""

    def __init__(self, store: Store, told: dict[str, Any]) -> None:
        self.value_bytes: int = told["value_bytes"]
        self.latencies: Counter[int] = Counter()
        self.going, self.counting = True, False
        self.failure = ""
        self.elapsed_s = 0.0
        self._store = store
        self._creates: bool = told["creates"]
        self._callers = [Caller(store, self, f"{told['root']}/{i}", self._creates) for i in told["callers"]]
        for caller in self._callers:
            for _ in range(told["depth"]):
                caller.call()

    def count(self) -> None:
        """Calls that are answered from now on count."""
        self.elapsed_s = -time.perf_counter()
        self.counting = True

    def freeze(self) -> None:
        """They count no more."""
        self.counting = False
        self.elapsed_s += time.perf_counter()

    def end(self) -> dict[str, Any]:
        """Wait for all answers; what was measured, or ``failure``."""
        self.going = False
        deadline = time.monotonic() + END_S
        while not self.failure and any(it.answered < it.sent for it in self._callers):
            if time.monotonic() > deadline:
                self.failure = f"calls were not answered within {END_S:.0f} s"
            time.sleep(0.01)
        for caller in self._callers:
            key = f"{caller.key}-{caller.sent}" if self._creates else caller.key
            due = (1 if self._creates else caller.sent, caller.last)
            if not self.failure and self._store.held(key) != due:
                self.failure = f"{key} does not hold what was written last"
        return {
            "failure": self.failure,
            "elapsed_s": self.elapsed_s,
            "checked": sum(it.answered for it in self._callers),
            "latency_us": sorted(self.latencies.items()),
        }


def main() -> None:
    """Serve until killed."""
    port, own, others, folder = sys.argv[1:]
    store = Store(own, [it for it in others.split(",") if it], Path(folder))
    load: Load | None = None
    with socket.create_server(("127.0.0.1", int(port))) as listener:
        while True:
            sock, _ = listener.accept()
            with sock, sock.makefile("rw") as stream:
                for line in stream:
                    told = json.loads(line)
                    answer: object = {}
                    match told["do"]:
                        case "mode":
                            answer = store.mode()
                        case "begin":
                            load = Load(store, told)
                        case "forget":
                            answer = store.forget(told["root"], sync=True, timeout=END_S)
                        case name:
                            answer = getattr(load, name)()
                    stream.write(json.dumps(answer) + "\n")
                    stream.flush()


if __name__ == "__main__":
    main()
