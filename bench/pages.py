"""Open pages on one peer: what a hundred feeds cost a leader under load next to none, in turn, and memory a page."""

import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, Event, Request

from bench import machine
from bench.loads import Ensemble, Figures
from bench.report import number, spread, table
from bench.results import Lines
from bench.servers import HOST, Trioquorum
from bench.workload import Workload
from trioquorum.admin.feed import FEED_PROTOCOL, AnyAsk, AskHistory, AskTrace, Dropped, encode, frames_of

WORKLOAD: Final = Workload(mix={"set": 1}, clients=16, depth=64)
SETTLE_S: Final = 3.0
IDLE_S: Final = 20.0
TURN_S: Final = 0.1
"""How often a page reads; its socket holds what comes meanwhile, as a browser that is busy drawing would."""
TIMEOUT_S: Final = 20.0
_RECEIVE_BYTES: Final = 1 << 20

MODES: Final[Mapping[str, tuple[bool, bool]]] = {
    "no page": (False, False),
    "pages": (True, False),
    "pages that show transactions": (True, True),
}
"""Whether pages are open, and whether they ask for every batch of transactions, as the page does until told not to."""


class Watched(Trioquorum):
    """This server with admin ports."""

    def write_files(self) -> None:
        super().write_files()
        file = self.folder / "peers.toml"
        text = file.read_text()
        for i, ports in self.peers.items():
            text = text.replace(f"id = {i}\n", f'id = {i}\nadmin = "http://{HOST}:{ports.admin}"\n')
        file.write_text(text)


class Page:
    """One open feed. ``received`` counts bytes; the frames of one page of many are read as well, which takes time."""

    def __init__(self, port: int, *, reads: bool, traced: bool) -> None:
        self.received = 0
        self.frames: Counter[str] = Counter()
        self.dropped = 0
        self._reads = reads
        self._message = bytearray()
        self._connection = WSConnection(ConnectionType.CLIENT)
        self.sock = socket.create_connection((HOST, port), TIMEOUT_S)
        try:
            request = Request(host=f"{HOST}:{port}", target="/feed", subprotocols=[FEED_PROTOCOL])
            self.sock.sendall(self._connection.send(request))
            while not any(isinstance(event, AcceptConnection) for event in self._receive()):
                pass
            self._ask(AskHistory())
            if traced:
                self._ask(AskTrace(on=True))
        except BaseException:
            self.sock.close()
            raise
        self.sock.setblocking(False)

    def _ask(self, ask: AnyAsk) -> None:
        self.sock.sendall(self._connection.send(BytesMessage(data=encode(ask))))

    def _receive(self) -> list[Event]:
        data = self.sock.recv(_RECEIVE_BYTES)
        if not data:
            raise RuntimeError("a page was not let in, or was cut")
        self._connection.receive_data(data)
        return list(self._connection.events())

    def drain(self, buffer: bytearray) -> None:
        """Take everything that has come.

        Raises:
            RuntimeError: the peer ended the feed.
        """
        while True:
            try:
                size = self.sock.recv_into(buffer)
            except BlockingIOError:
                return
            if not size:
                raise RuntimeError("a page was cut")
            self.received += size
            if self._reads:
                self._read(bytes(memoryview(buffer)[:size]))

    def _read(self, data: bytes) -> None:
        self._connection.receive_data(data)
        for event in self._connection.events():
            if isinstance(event, BytesMessage):
                self._message += event.data
                if event.message_finished:
                    for frame in frames_of(bytes(self._message)):
                        self.frames[type(frame).__name__] += 1
                        if isinstance(frame, Dropped):
                            self.dropped += frame.frames
                    self._message.clear()


class Pages:
    """``count`` open feeds that a thread reads, until the block ends."""

    def __init__(self, port: int, count: int, *, traced: bool = False) -> None:
        self.pages: list[Page] = []
        self.cpu_s = 0.0
        """What reading took of this process."""
        self.problem: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pages")
        try:
            for at in range(count):
                self.pages.append(Page(port, reads=at == 0, traced=traced))
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._close()

    def _close(self) -> None:
        for page in self.pages:
            page.sock.close()

    def _run(self) -> None:
        buffer = bytearray(_RECEIVE_BYTES)
        try:
            while not self._stop.wait(TURN_S):
                for page in self.pages:
                    page.drain(buffer)
                self.cpu_s = time.thread_time()
        except (OSError, RuntimeError, msgspec.DecodeError) as problem:
            self.problem = problem

    def check(self) -> None:
        """Raises:
        RuntimeError: a page did not get its feed.
        """
        if self.problem is not None:
            raise RuntimeError(f"pages: {self.problem}") from self.problem


def run(
    folder: Path,
    count: int,
    rounds: int,
    seconds: float,
    lines: Lines,
    doing: Callable[[str], None],
    idle_s: float = IDLE_S,
) -> list[dict[str, Any]]:
    """Memory and idle CPU time at first, then all modes in every round, every second backwards; on one ensemble.

    Raises:
        GeneratorFailed, RuntimeError, TimeoutError: a server or a page did something wrong, or not in time.
    """
    workload = msgspec.structs.replace(WORKLOAD, seconds=seconds)
    found: list[dict[str, Any]] = []

    def note(**record: Any) -> None:
        found.append(record)
        lines.add(record)

    with Watched(folder, workload.peers, many_clients=True) as servers:
        servers.start()
        modes = servers.wait_serving()
        leader = next(i for i, what in modes.items() if what == "leader")
        ensemble = Ensemble(servers)
        doing("a load that does not count")
        ensemble.run(workload)
        doing("memory")
        note(measure="memory", pages=count, **_memory(servers, leader, count))
        doing("nobody writes")
        note(measure="idle", pages=count, **_idle(servers, leader, count, idle_s))
        for round_ in range(rounds):
            for mode in list(MODES)[:: -1 if round_ % 2 else 1]:
                doing(f"round {round_ + 1}: {mode}")
                figures = _load(ensemble, workload, leader, mode, count)
                note(measure="load", mode=mode, pages=count, round=round_, **figures)
        if servers.wait_serving()[leader] != "leader":
            raise RuntimeError("another peer leads now")
    return found


def _memory(servers: Watched, leader: int, count: int) -> Figures:
    """What open pages, each with its history, take of the peer that serves them."""
    pid = servers.pids()[leader]
    time.sleep(SETTLE_S)
    before = machine.rss_kib(pid)
    with Pages(servers.peers[leader].admin, count) as pages:
        time.sleep(SETTLE_S)
        pages.check()
        after = machine.rss_kib(pid)
    time.sleep(SETTLE_S)
    return {"before_kib": before, "open_kib": after, "closed_kib": machine.rss_kib(pid)}


def _idle(servers: Watched, leader: int, count: int, idle_s: float) -> Figures:
    """Cores that the leader keeps busy while nobody writes: what a page costs however little else there is to do."""
    pid = servers.pids()[leader]

    def cores() -> float:
        before, began = machine.cpu_s(pid), time.perf_counter()
        time.sleep(idle_s)
        return (machine.cpu_s(pid) - before) / (time.perf_counter() - began)

    alone = cores()
    with Pages(servers.peers[leader].admin, count) as pages:
        time.sleep(SETTLE_S)
        busy = cores()
        pages.check()
    return {"alone_cores": alone, "pages_cores": busy}


def _load(ensemble: Ensemble, workload: Workload, leader: int, mode: str, count: int) -> Figures:
    is_open, traced = MODES[mode]
    servers = ensemble.servers
    spent: list[float] = []

    def on_line(line: str) -> None:
        if line in ("measuring", "measured"):
            spent.append(machine.cpu_s(servers.pids()[leader]))

    with Pages(servers.peers[leader].admin, count if is_open else 0, traced=traced) as pages:
        time.sleep(1)  # For the history, and for a sampler that sees whether anybody looks.
        before = [page.received for page in pages.pages]
        figures, _ = ensemble.run(workload, on_line)
        pages.check()
        got = [page.received - old for page, old in zip(pages.pages, before, strict=True)]
        told = sum(pages.pages[0].frames.values()) if pages.pages else 0
        dropped = pages.pages[0].dropped if pages.pages else 0
    return {
        "rate_per_s": figures["rate_per_s"],
        "cpu_s_per_100k": figures["cpu_s_per_100k"],
        "p50_ms": figures["p50_ms"],
        "p99_ms": figures["p99_ms"],
        "leader_cores": (spent[1] - spent[0]) / workload.seconds,
        "kib_per_page": statistics.mean(got) / 1024 if got else 0.0,
        "frames_read": told,
        "frames_dropped": dropped,
        "readers_cpu_s": pages.cpu_s,
    }


def summary(found: list[dict[str, Any]]) -> str:
    """Memory in a sentence, and a row for each mode; ratios are to no page in the same round."""
    memory = next(it for it in found if it["measure"] == "memory")
    each = (memory["open_kib"] - memory["before_kib"]) / memory["pages"]
    idle = next(it for it in found if it["measure"] == "idle")
    head = ["", "sets/s", "÷ no page", "range", "CPU s per 100,000", "÷ no page", "leader, cores", "p99, ms", "dropped"]
    rows = []
    loads = [it for it in found if it["measure"] == "load"]
    alone = {it["round"]: it for it in loads if it["mode"] == "no page"}
    for mode in MODES:
        runs = [it for it in loads if it["mode"] == mode]
        ratios = [it["rate_per_s"] / alone[it["round"]]["rate_per_s"] for it in runs]
        costs = [it["cpu_s_per_100k"] / alone[it["round"]]["cpu_s_per_100k"] for it in runs]
        middle = {
            name: statistics.median(it[name] for it in runs) for name in ("rate_per_s", "cpu_s_per_100k", "p99_ms")
        }
        rows.append(
            [
                mode,
                number(middle["rate_per_s"]),
                number(statistics.median(ratios)),
                spread(ratios),
                number(middle["cpu_s_per_100k"]),
                number(statistics.median(costs)),
                number(statistics.median(it["leader_cores"] for it in runs)),
                number(middle["p99_ms"]),
                number(sum(it["frames_dropped"] for it in runs)),
            ]
        )
    return (
        f"{memory['pages']} pages on the leader of three: {number(each)} KiB of its memory each "
        f"({memory['before_kib']:,} → {memory['open_kib']:,} KiB; closed again {memory['closed_kib']:,}).\n"
        f"While nobody writes it keeps {number(100 * idle['pages_cores'])} % of a core busy with them, "
        f"{number(100 * idle['alone_cores'])} % without.\n\n"
        f"{table(head, rows)}"
    )
