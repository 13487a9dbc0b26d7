"""A network of Linux namespaces: one for each peer, and one for the bridge between them, where the clients live.

Nothing of it touches the machine's own network: addresses exist inside only, and a peer reaches the others through
the bridge alone. Faults are packet filter rules where packets arrive, so each direction can be cut for itself.
"""

import contextlib
import ctypes
import itertools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Final, Self

import trio
from anyio.abc import ByteStream

from trioquorum.client import Dial
from trioquorum.errors import LinkClosed

CLIENTS: Final = 0
"""The node that is no peer: the bridge's namespace. Each client has an address of its own there."""
OBSERVER: Final = 1
"""The client that asks peers how they are."""
CLIENT_PORT: Final = 2181
PREFIX: Final = "trioquorum"
TOOLS: Final = ("ip", "nft", "mount", "umount", "setpriv")
ASK_TIMEOUT_S: Final = 1.0

_BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError)
_NETNS: Final = Path("/run/netns")
_numbers = itertools.count(1)
_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str | None:
    """Why this machine cannot have such networks, ``None`` when it can."""
    if sys.platform != "linux":
        return "network namespaces exist on Linux only"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (iproute2, nftables, mount, util-linux)"
    try:
        with Network([1]) as network:
            network.cut("try", {(CLIENTS, 1)}, {(1, CLIENTS): 50})
    except NetworkError as error:
        return f"no network namespaces here: {error}"
    return None


class NetworkError(Exception):
    """``ip`` or ``nft`` refused."""


def run(*command: str, text: str | None = None) -> str:
    """What a command prints.

    Raises:
        NetworkError: it failed, and what it said.
    """
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Network:
    """As a context manager it exists inside the block. Node 0 is where the clients are, the others are ``peers``.

    No two networks of a machine have the same ``name``.
    """

    def __init__(self, peers: Collection[int]) -> None:
        self.nodes = (CLIENTS, *peers)
        self._isolated: set[int] = set()
        self._cuts: set[str] = set()
        self.name = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"

    def __enter__(self) -> Self:
        remove_abandoned()
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def namespace(self, node: int) -> str:
        """The name of a node's namespace, for ``ip netns exec``."""
        return f"{self.name}-{node}"

    @staticmethod
    def address(node: int) -> str:
        """Where a node is found, inside."""
        return f"10.231.0.{node}" if node != CLIENTS else "10.231.1.0/24"

    def _make(self) -> None:
        bridge = self.namespace(CLIENTS)
        run("ip", "netns", "add", bridge)
        run("ip", "-n", bridge, "link", "set", "lo", "up")
        run("ip", "-n", bridge, "link", "add", "bridge", "type", "bridge")
        run("ip", "-n", bridge, "address", "add", "10.231.0.254/16", "dev", "bridge")
        run("ip", "-n", bridge, "link", "set", "bridge", "up")
        # Every address of this range is ours, without being listed anywhere.
        run("ip", "-n", bridge, "route", "add", "local", self.address(CLIENTS), "dev", "lo")
        for node in self.nodes[1:]:
            inside, port = self.namespace(node), f"peer{node}"
            run("ip", "netns", "add", inside)
            # Both ends are born inside, so no name on this machine can be taken already.
            run("ip", "-n", bridge, *f"link add {port} type veth peer name eth0 netns {inside}".split())
            run("ip", "-n", bridge, "link", "set", port, "master", "bridge", "up")
            run("ip", "-n", inside, "link", "set", "lo", "up")
            run("ip", "-n", inside, "address", "add", f"{self.address(node)}/16", "dev", "eth0")
            run("ip", "-n", inside, "link", "set", "eth0", "up")

    def _remove(self) -> None:
        for node in self.nodes:
            with contextlib.suppress(NetworkError):  # it was not made yet
                run("ip", "netns", "delete", self.namespace(node))

    # Faults

    def cut(
        self, name: str, ways: Collection[tuple[int, int]], loss_percent: Mapping[tuple[int, int], int] | None = None
    ) -> None:
        """Drop every packet on these ways (from, to), and some on others, until ``heal``.

        It is called ``name``, replaces what was called so before, and stands beside other cuts.
        """
        self._cuts.add(name)
        for node in self.nodes:
            rules = [f"ip saddr {self.address(a)} drop" for a, b in sorted(ways) if b == node]
            rules += [
                f"ip saddr {self.address(a)} numgen random mod 100 < {percent} drop"
                for (a, b), percent in sorted((loss_percent or {}).items())
                if b == node
            ]
            chain = "; ".join(["type filter hook input priority 0", *rules])
            self._load(node, f"cut_{name}", f"chain input {{ {chain}; }}")

    def heal(self, *names: str) -> None:
        """End these cuts, all if none is named."""
        for name in sorted(names or self._cuts):
            self.cut(name, ())
            self._cuts.discard(name)

    def isolate(self, client: int) -> None:
        """Drop every packet to and from this client, until ``rejoin``; beside whatever is cut."""
        self._isolated.add(client)
        self._filter_clients()

    def rejoin(self, client: int) -> None:
        """End ``isolate``."""
        self._isolated.discard(client)
        self._filter_clients()

    def _filter_clients(self) -> None:
        addresses = [_client_address(client) for client in sorted(self._isolated)]
        chains = [
            f"chain {hook} {{ type filter hook {hook} priority 1; "
            + "".join(f"ip {end} {address} drop; " for address in addresses)
            + "}"
            for hook, end in (("input", "daddr"), ("output", "saddr"))
        ]
        self._load(CLIENTS, "isolated", "\n".join(chains))

    def _load(self, node: int, table: str, chains: str) -> None:
        """Put a table of filter rules in place of the one before."""
        rules = f"table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n{chains}\n}}\n"
        run("ip", "netns", "exec", self.namespace(node), "nft", "-f", "-", text=rules)

    # Clients

    async def connect(self, node: int, client: int = OBSERVER) -> trio.SocketStream:
        """A connection of a client (its number, up to 254) to the client port of ``node``.

        Raises:
            OSError: nobody answers.
        """
        with _inside(self.namespace(CLIENTS)):
            sock = trio.socket.socket()
        try:
            await sock.bind((_client_address(client), 0))
            await sock.connect((self.address(node), CLIENT_PORT))
        except BaseException:
            sock.close()
            raise
        return trio.SocketStream(sock)

    def dial(self, node: int, client: int = OBSERVER, opened: Callable[[trio.SocketStream], object] = id) -> Dial:
        """What ``trioquorum.client.connect`` needs to reach ``node``; ``opened`` is told each connection."""

        async def dial() -> ByteStream:
            stream = await self.connect(node, client)
            opened(stream)
            return _Stream(stream)

        return dial

    async def four_letter(self, node: int, word: str) -> str:
        """A four-letter word's answer; empty when nobody answers in time."""
        answer = b""
        with trio.move_on_after(ASK_TIMEOUT_S):
            try:
                async with await self.connect(node) as stream:
                    await stream.send_all(word.encode())
                    async for chunk in stream:
                        answer += chunk
            except (OSError, trio.BrokenResourceError):
                return ""
            return answer.decode()
        return ""


def _client_address(client: int) -> str:
    return f"10.231.1.{client}"


class _Stream(ByteStream):
    """A socket of Trio as anyio knows streams."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            data = await self._stream.receive_some(max_bytes)
        except _BROKEN as error:
            raise LinkClosed(str(error)) from None
        if not data:
            raise LinkClosed("the other end closed")
        return bytes(data)

    async def send(self, item: bytes) -> None:
        try:
            await self._stream.send_all(item)
        except _BROKEN as error:
            raise LinkClosed(str(error)) from None

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


@contextlib.contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """This thread is in ``namespace``; a socket belongs to the namespace that it was made in. Await nothing in here."""
    with Path("/proc/thread-self/ns/net").open() as home, (_NETNS / namespace).open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, 0):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def remove_abandoned() -> None:
    """Remove what runs left behind that were killed: namespaces, and file systems called after them.

    Their peers died with them.
    """
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    for source, target, *_ in mounts:
        if _is_abandoned(source):
            with contextlib.suppress(NetworkError):
                run("umount", target)
    for path in _NETNS.glob(f"{PREFIX}-*"):
        if _is_abandoned(path.name):
            with contextlib.suppress(NetworkError):
                run("ip", "netns", "delete", path.name)


def _is_abandoned(name: str) -> bool:
    owner = re.match(rf"{PREFIX}-(\d+)-", name)
    return owner is not None and not Path(f"/proc/{owner[1]}").exists()
