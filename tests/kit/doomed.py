"""A kazoo client in a process of its own, to be killed without a word to the server."""

import subprocess
import sys
from typing import Self

_CHILD = """
import sys
from kazoo.client import KazooClient
session = (int(sys.argv[3]), bytes.fromhex(sys.argv[4])) if len(sys.argv) > 3 else None
zk = KazooClient(hosts=sys.argv[1], timeout=float(sys.argv[2]), client_id=session)
zk.start(10)
print(zk.client_id[0], zk.client_id[1].hex(), flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class DoomedClient:
    """``zk`` in the child is a started kazoo client; ``run`` executes one line there.

    With ``client_id`` it goes on with that session, if that still lives.
    """

    def __init__(self, hosts: str, *, timeout_s: float, client_id: tuple[int, bytes] | None = None) -> None:
        known = [] if client_id is None else [str(client_id[0]), client_id[1].hex()]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, hosts, str(timeout_s), *known],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        session, password = self._line().split()
        self.session = int(session)
        self.client_id = self.session, bytes.fromhex(password)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def run(self, line: str) -> None:
        """Execute a line and wait until it is done."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        assert self._line() == "done\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """``kill -9``."""
        self._process.kill()
        self._process.communicate()
