"""etcd as it is on PATH, from Debian's ``etcd-server`` for one, asked through gRPC by ``load_generator/etcd.c``."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from http.client import HTTPException
from typing import Final
from urllib.request import urlopen

from bench import generate
from bench.generate import Job, Outcome
from bench.servers import HOST, Servers
from bench.workload import Workload

VALUE_BYTES_MAX: Final = 15_000
"""The generator sends one frame for each request."""
_QUOTA_BYTES: Final = 8 << 30
_TIMEOUT_S: Final = 5.0


def why_missing() -> str | None:
    """One line on what is missing for a comparison; None when all is there."""
    if shutil.which("etcd") is None:
        return "no etcd on PATH: its comparison is skipped (Debian: apt-get install etcd-server)"
    if generate.compiler() is None:
        return "no C compiler for etcd's load generator: its comparison is skipped"
    return None


@cache
def versions() -> dict[str, str]:
    """Of etcd."""
    told = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True).stdout
    return {"etcd": told.splitlines()[0].removeprefix("etcd Version: ")}


class Etcd(Servers):
    """Defaults, which flush each write, but for addresses and room for as much history as a long run makes."""

    name = "etcd"
    note = (
        "writes are flushed by a quorum, as ZooKeeper's are; gets are serializable ranges, answered by the asked peer "
        "alone, as ZooKeeper's are; gRPC with one HTTP/2 connection for each client and a stream for each request; "
        "calls that are under way together have no order; a set keeps the earlier values of its key; before loads "
        "without writes all peers start anew, since in 3.4 each read copies a buffer as large as the largest burst of "
        "writes made it, which makes reads up to ten times as slow"
    )

    @classmethod
    def why_not(cls, workload: Workload) -> str | None:
        if workload.measure not in ("load", "half"):
            return "only loads are asked of etcd"
        if workload.idle_sessions:
            return "etcd has no sessions"
        if workload.value_bytes > VALUE_BYTES_MAX:
            return f"values of more than {VALUE_BYTES_MAX:,} bytes do not fit into one frame"
        return None

    def command(self, i: int) -> list[str]:
        client, peer = (f"http://{HOST}:{port}" for port in (self.peers[i].client, self.peers[i].quorum))
        settings = {
            "name": f"peer{i}",
            "data-dir": str(self.peer_folder(i) / "data"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": ",".join(f"peer{j}=http://{HOST}:{ports.quorum}" for j, ports in self.peers.items()),
            "quota-backend-bytes": str(_QUOTA_BYTES),
        }
        return ["etcd", *(f"--{name}={value}" for name, value in settings.items())]

    def mode(self, i: int) -> str | None:
        if b'"true"' not in self._ask(i, "health"):  # a read that takes a quorum
            return None
        told = dict(self._metrics(i))
        if len(self.peers) == 1:
            return "standalone"
        return "leader" if told.get("etcd_server_is_leader") else "follower"

    def fsyncs(self, i: int) -> int:
        return int(dict(self._metrics(i)).get("etcd_disk_wal_fsync_duration_seconds_count", 0))

    def _metrics(self, i: int) -> Iterator[tuple[str, float]]:
        """Those without labels; none when nobody answers."""
        for line in self._ask(i, "metrics").decode().splitlines():
            if not line.startswith("#") and "{" not in line:
                name, _, value = line.partition(" ")
                yield name, float(value)

    def _ask(self, i: int, what: str) -> bytes:
        """Nothing when nobody answers."""
        try:
            with urlopen(f"http://{HOST}:{self.peers[i].client}/{what}", timeout=_TIMEOUT_S) as answer:
                found: bytes = answer.read()
                return found
        except (OSError, HTTPException):
            return b""

    def make_ready(self, workload: Workload) -> None:
        """See ``note``."""
        if workload.mix.keys() == {"get"}:
            for i in list(self.processes):
                self.kill(i)
            self.start()

    def load(self, job: Job, on_line: generate.OnLine) -> Outcome:
        job.probes = False
        return generate.load(job, on_line, "etcd")
