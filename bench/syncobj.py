"""PySyncObj, where the Python that runs the benchmark has it: peers with their callers inside (``syncobj_peer.py``)."""

import json
import socket
import sys
import time
from collections import Counter
from contextlib import ExitStack
from importlib import metadata, util
from typing import Any, Final, TextIO

from bench import generate, machine
from bench.generate import GeneratorFailed, Job, Outcome
from bench.servers import HOST, Servers
from bench.workload import Workload

MODE_TIMEOUT_S: Final = 5.0
TIMEOUT_S: Final = 90.0


def why_missing() -> str | None:
    """One line on what is missing for a comparison; None when all is there."""
    if util.find_spec("pysyncobj") is None:
        return f"{sys.executable} has no pysyncobj: its comparison is skipped (pip install pysyncobj)"
    return None


def versions() -> dict[str, str]:
    """Of PySyncObj."""
    return {"pysyncobj": metadata.version("pysyncobj")}


class PySyncObj(Servers):
    """Three processes that share a dictionary; who calls is in one of them."""

    name = "pysyncobj (not durable)"
    note = (
        "calls are answered when a quorum has them in a journal that is never flushed, so that less is done than by "
        "the others; callers are inside the peers, so that there are no connections of clients and their CPU time is "
        "that of the peers; gets are not asked, since they are look-ups in the caller's own memory; a leader gathers "
        "calls for 10 ms (by default 100 ms; with 2 ms followers truncated what they had applied) and dumps are taken "
        "every 100,000 calls (by default 5,000)"
    )

    @classmethod
    def why_not(cls, workload: Workload) -> str | None:
        if workload.measure != "load":
            return "only loads are asked of PySyncObj"
        if workload.mix.keys() not in ({"set"}, {"create"}):
            return "a get is a look-up in the caller's own memory"
        if workload.znodes or workload.idle_sessions:
            return "callers write a key of their own each, and have no sessions"
        return None

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(machine.REPOSITORY)}

    def command(self, i: int) -> list[str]:
        addresses = {j: f"{HOST}:{ports.quorum}" for j, ports in self.peers.items()}
        own = addresses.pop(i)
        told = [str(self.peers[i].client), own, ",".join(addresses.values()), str(self.peer_folder(i))]
        return [sys.executable, "-m", "bench.syncobj_peer", *told]

    def mode(self, i: int) -> str | None:
        try:
            with ExitStack() as stack:
                found: str | None = tell(self.reach(stack, self.peers[i].client, MODE_TIMEOUT_S), "mode")
        except (OSError, ValueError):
            return None
        return "standalone" if found and len(self.peers) == 1 else found

    def fsyncs(self, i: int) -> int:
        """There are none."""
        return 0

    def reach(self, stack: ExitStack, port: int, timeout_s: float) -> TextIO:
        """A connection to a peer, for ``tell``."""
        sock = stack.enter_context(socket.create_connection((HOST, port), timeout_s))
        return stack.enter_context(sock.makefile("rw"))

    def load(self, job: Job, on_line: generate.OnLine) -> Outcome:
        """Callers are spread over the peers as connections are. No share of the generator is known.

        Raises:
            GeneratorFailed: an answer was not the one due, or none.
        """
        count = len(job.ports)
        with ExitStack() as stack:
            peers = [self.reach(stack, port, TIMEOUT_S) for port in job.ports]
            for n, peer in enumerate(peers):
                tell(
                    peer,
                    "begin",
                    root=job.root,
                    callers=list(range(n, job.connections, count)),
                    depth=job.depth,
                    value_bytes=job.value_bytes,
                    creates="create" in job.mix,
                )
            time.sleep(job.warm_up_s)
            on_line("measuring")
            before = [machine.cpu_s(pid) for pid in job.pids]
            for peer in peers:
                tell(peer, "count")
            time.sleep(job.measure_s)
            for peer in peers:
                tell(peer, "freeze")
            spent = [machine.cpu_s(pid) - was for pid, was in zip(job.pids, before, strict=True)]
            on_line("measured")
            ends = [tell(peer, "end") for peer in peers]
            tell(peers[0], "forget", root=job.root)
        if failures := [end["failure"] for end in ends if end["failure"]]:
            raise GeneratorFailed("; ".join(failures))
        return _outcome(job, ends, spent)


def tell(peer: TextIO, what: str, **more: object) -> Any:
    """What a peer answers.

    Raises:
        OSError, ValueError: it does not.
    """
    peer.write(json.dumps({"do": what, **more}) + "\n")
    peer.flush()
    return json.loads(peer.readline())


def _outcome(job: Job, ends: list[dict[str, Any]], spent: list[float]) -> Outcome:
    latencies: Counter[float] = Counter()
    for end in ends:
        latencies.update(dict(end["latency_us"]))
    outcome = Outcome(
        elapsed_s=sum(end["elapsed_s"] for end in ends) / len(ends),
        generator_share=None,
        cpu_s=spent,
        latency_us=sorted(latencies.items()),
        checked=sum(end["checked"] for end in ends),
    )
    setattr(outcome, "creates" if "create" in job.mix else "sets", latencies.total())
    return outcome
