"""The load generator for where there is no C compiler: one process, one epoll, closed loop, every reply checked.

Reads a ``Job`` as JSON in its argument and writes an ``Outcome`` as JSON on standard output. Each connection keeps
``depth`` requests under way: as many as were answered at once are sent at once, in one slice of bytes that were
joined beforehand. Each reply must have the xid that is due on its connection, no error, a zxid not below the last one,
the length its operation has, and a get the value that was set; anything else ends the run. Latency is taken per batch:
from the send of a request to the receive that brought its reply. What only the C program does is refused.
"""

import resource
import select
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

import msgspec

from bench import wire
from bench.generate import GeneratorFailed, Job, Outcome
from bench.machine import cpu_s

RING: Final = 2048
"""Distinct requests of a connection that repeats them; more than any ``outstanding``."""
CREATES_PER_S_MAX: Final = 60_000
"""For so many creates a second requests are made beforehand; a faster server ends the run with an error."""
SESSION_TIMEOUT_MS: Final = 30_000
DRAIN_S: Final = 30.0
CLEAN_S: Final = 120.0
CLEAN_OUTSTANDING: Final = 64
_RECEIVE_BYTES: Final = 256 << 10
_HEAD = Struct(">iiqi")


class BadReply(Exception):
    """A server answered something else than what is due."""


class OutOfRequests(Exception):
    """The server was faster than what was prepared for."""


class Script:
    """The requests of one connection, joined, and the reply length that each one is due.

    Their xids are 1, 2, 3, … . ``repeats``: after the last comes the first again. Replies as long as a get's are due
    to have ``value`` in them.
    """

    def __init__(self, requests: Sequence[bytes], reply_bytes: list[int], *, repeats: bool, value: bytes = b"") -> None:
        self.value = value
        self.get_bytes = get_reply_bytes(value) if value else -1
        self.count = len(requests)
        self.repeats = repeats
        self.bytes = b"".join(requests)
        self.reply_bytes = reply_bytes
        self.offsets = [0]
        for request in requests:
            self.offsets.append(self.offsets[-1] + len(request))


class Connection:
    """One client: a session, a script, and what is under way."""

    def __init__(self, port: int, session_timeout_ms: int = SESSION_TIMEOUT_MS) -> None:
        self.sock, _ = wire.open_session(port, session_timeout_ms)
        self.script = Script([], [], repeats=False)
        self.sent = 0
        self.answered = 0
        self.under_way: deque[list[float]] = deque()
        self._next = 0
        self._due = 0
        self._last_zxid = 0
        self._partial = b""
        self._unsent = b""

    def load(self, script: Script) -> None:
        """Begin a script; nothing is under way."""
        self.script = script
        self.sent = self.answered = self._next = self._due = 0

    @property
    def used_up(self) -> bool:
        """The script does not repeat, and its last request was sent."""
        return not self.script.repeats and self.sent == self.script.count

    @property
    def blocked(self) -> bool:
        """The socket took less than was to be sent."""
        return bool(self._unsent)

    def send(self, count: int, now: float) -> int:
        """Put the next ``count`` requests under way, or as many as the script has; how many that are."""
        script, at = self.script, self._next
        if not script.repeats:
            count = min(count, script.count - at)
        if count <= 0:
            return 0
        end = at + count
        offsets = script.offsets
        if end <= script.count:
            data = script.bytes[offsets[at] : offsets[end]]
        else:
            end -= script.count
            data = script.bytes[offsets[at] :] + script.bytes[: offsets[end]]
        self._next = 0 if end == script.count and script.repeats else end
        self.sent += count
        self.under_way.append([now, count])
        self.flush(data)
        return count

    def flush(self, data: bytes = b"") -> None:
        """Send what waits, then ``data``; what the socket does not take waits."""
        data = self._unsent + data
        try:
            taken = self.sock.send(data) if data else 0
        except BlockingIOError:
            taken = 0
        self._unsent = data[taken:]

    def receive(self) -> int:
        """Read and check whatever has arrived; how many replies that were.

        Raises:
            BadReply: a reply is not the one due, or the server closed the connection.
        """
        try:
            chunk = self.sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return 0
        except ConnectionError:
            chunk = b""
        if not chunk:
            raise BadReply("the server closed the connection")
        data = self._partial + chunk
        script, due, at, last = self.script, self._due, 0, len(data) - _HEAD.size
        lengths, size, count, last_zxid = script.reply_bytes, script.count, 0, self._last_zxid
        unpack, get_bytes, value = _HEAD.unpack_from, script.get_bytes, script.value
        while at <= last:
            length, xid, zxid, err = unpack(data, at)
            if due == size:
                due = 0
            if err or xid != due + 1 or length != lengths[due]:
                raise BadReply(
                    f"due: xid {due + 1}, {lengths[due]} bytes; came: xid {xid}, {length} bytes, error {err}"
                )
            following = at + 4 + length
            if following > len(data):
                break
            if zxid < last_zxid:
                raise BadReply(f"zxid {zxid:#x} after {last_zxid:#x}")
            if length == get_bytes and not data.startswith(value, at + _HEAD.size + 4):
                raise BadReply("a value that was not set")
            last_zxid = zxid
            at = following
            due += 1
            count += 1
        self._partial = data[at:]
        self._last_zxid = last_zxid
        self._due = due
        self.answered += count
        if self.answered > self.sent:
            raise BadReply(f"{self.answered} replies to {self.sent} requests")
        return count

    def settle(self, count: int, now: float, latencies: Counter[int] | None) -> None:
        """The oldest ``count`` requests are answered: note their latencies (µs → how many)."""
        under_way = self.under_way
        while count:
            batch = under_way[0]
            done = min(count, int(batch[1]))
            if latencies is not None:
                latencies[int((now - batch[0]) * 1e6)] += done
            count -= done
            batch[1] -= done
            if not batch[1]:
                under_way.popleft()


def get_reply_bytes(value: bytes) -> int:
    """How long the reply to a get is."""
    return wire.REPLY_HEADER_BYTES + 4 + len(value) + wire.STAT_BYTES


def value_of(job: Job) -> bytes:
    """What every znode holds."""
    return (bytes(range(97, 123)) * (job.value_bytes // 26 + 1))[: job.value_bytes]


def script_of(job: Job, index: int) -> Script:
    """The requests of connection ``index``; it reads and writes one znode of its own.

    Raises:
        GeneratorFailed: only the C program can do that.
    """
    value, node = value_of(job), f"{job.root}/n{index}"
    if job.rate or job.idle or job.nodes > 1 or job.reuse or job.keep or ("create" in job.mix and len(job.mix) > 1):
        raise GeneratorFailed("rates, idle sessions, many znodes and creates in a mix take the C program: install cc")
    if "create" in job.mix:
        count = int(CREATES_PER_S_MAX * (job.warm_up_s + job.measure_s)) // job.connections
        return _creates([f"{node}-{k:06d}" for k in range(count)], value)
    kinds = {
        "get": (wire.GET_DATA, wire.get_body(node), get_reply_bytes(value)),
        "set": (wire.SET_DATA, wire.set_body(node, value), wire.REPLY_HEADER_BYTES + wire.STAT_BYTES),
    }
    mix = [kinds[name] for name, weight in job.mix.items() for _ in range(weight)]
    picked = [mix[(k + index) % len(mix)] for k in range(RING)]
    requests = [wire.request(k + 1, op, body) for k, (op, body, _) in enumerate(picked)]
    return Script(requests, [length for _, _, length in picked], repeats=True, value=value)


def _creates(paths: Sequence[str], value: bytes) -> Script:
    requests = [wire.request(k + 1, wire.CREATE, wire.create_body(path, value)) for k, path in enumerate(paths)]
    lengths = [wire.REPLY_HEADER_BYTES + 4 + len(path) for path in paths]
    return Script(requests, lengths, repeats=False)


class Load:
    """All connections of a job and the epoll that drives them."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.connections: list[Connection] = []
        self._epoll = select.epoll()
        self._by_fd: dict[int, Connection] = {}
        self._blocked: set[int] = set()
        self.under_way = 0

    def prepare(self) -> None:
        """Connect; one znode for each connection, created through it, then its script."""
        for index in range(self.job.connections):
            self.connections.append(Connection(self.job.ports[index % len(self.job.ports)]))
        first = self.connections[0].sock
        wire.call(first, 1, wire.CREATE, wire.create_body(self.job.root, b""))
        value = value_of(self.job)
        for index, connection in enumerate(self.connections):
            wire.call(connection.sock, 2, wire.CREATE, wire.create_body(f"{self.job.root}/n{index}", value))
            connection.load(script_of(self.job, index))
            connection.sock.setblocking(False)
            self._by_fd[connection.sock.fileno()] = connection
            self._epoll.register(connection.sock.fileno(), select.EPOLLIN)

    def start(self, outstanding: int) -> None:
        """Put so many requests under way on each connection."""
        now = time.perf_counter()
        for connection in self.connections:
            self.under_way += connection.send(outstanding, now)
            self._watch(connection)

    def turn(self, until: float, latencies: Counter[int] | None, *, refill: bool = True) -> int:
        """Drive all connections until ``until``, or until nothing is under way; how many replies came."""
        count = 0
        perf_counter = time.perf_counter
        while self.under_way and (now := perf_counter()) < until:
            for fd, mask in self._epoll.poll(min(0.1, until - now)):
                connection = self._by_fd[fd]
                if mask & select.EPOLLOUT:
                    connection.flush()
                if mask & ~select.EPOLLOUT:
                    answered = connection.receive()
                    now = perf_counter()
                    connection.settle(answered, now, latencies)
                    count += answered
                    self.under_way -= answered
                    if refill:
                        self.under_way += connection.send(answered, now)
                if connection.blocked or fd in self._blocked:
                    self._watch(connection)
        return count

    def _watch(self, connection: Connection) -> None:
        fd = connection.sock.fileno()
        self._epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if connection.blocked else 0))
        (self._blocked.add if connection.blocked else self._blocked.discard)(fd)

    def drain(self) -> None:
        """Wait for the replies of everything under way.

        Raises:
            BadReply: some did not come.
        """
        self.turn(time.perf_counter() + DRAIN_S, None, refill=False)
        if self.under_way:
            raise BadReply(f"{self.under_way} requests were not answered within {DRAIN_S:.0f} s")

    def clean(self) -> None:
        """Delete every znode this load created, then end the sessions.

        Raises:
            BadReply: something could not be deleted.
        """
        for index, connection in enumerate(self.connections):
            node = f"{self.job.root}/n{index}"
            paths = [node]
            if "create" in self.job.mix:
                paths += [f"{node}-{k:06d}" for k in range(connection.sent)]
            requests = [wire.request(k + 1, wire.DELETE, wire.delete_body(path)) for k, path in enumerate(paths)]
            connection.load(Script(requests, [wire.REPLY_HEADER_BYTES] * len(paths), repeats=False))
        self.start(CLEAN_OUTSTANDING)
        self.turn(time.perf_counter() + CLEAN_S, None)
        if self.under_way:
            raise BadReply(f"{self.under_way} deletes were not answered within {CLEAN_S:.0f} s")
        for connection in self.connections:
            connection.sock.setblocking(True)
        wire.call(self.connections[0].sock, 1, wire.DELETE, wire.delete_body(self.job.root))
        for connection in self.connections:
            wire.call(connection.sock, 2, wire.CLOSE_SESSION)

    def close(self) -> None:
        """Close all sockets."""
        for connection in self.connections:
            connection.sock.close()
        self._epoll.close()


def measure(job: Job, tell: Callable[[str], None] = lambda line: None) -> Outcome:
    """Set up, warm up, measure, clean up; ``tell`` hears "measuring" and "measured" in between.

    Raises:
        BadReply: the servers do not do what was asked.
        OutOfRequests: they do more than was prepared for.
        GeneratorFailed: only the C program can do this job.
    """
    load = Load(job)
    try:
        load.prepare()
        load.start(job.depth)
        load.turn(time.perf_counter() + job.warm_up_s, None)
        tell("measuring")
        outcome = _window(load)
        tell("measured")
        load.drain()
        if any(connection.used_up for connection in load.connections):
            raise OutOfRequests(f"more than {CREATES_PER_S_MAX} creates a second")
        outcome.checked = sum(connection.answered for connection in load.connections)
        load.clean()
    finally:
        load.close()
    return outcome


def _window(load: Load) -> Outcome:
    job = load.job
    latencies: Counter[int] = Counter()
    cpu_before = [cpu_s(pid) for pid in job.pids]
    own_before, began = _own_cpu_s(), time.perf_counter()
    operations = load.turn(began + job.measure_s, latencies)
    elapsed_s, own_s = time.perf_counter() - began, _own_cpu_s() - own_before
    total = sum(job.mix.values())
    return Outcome(
        elapsed_s=elapsed_s,
        # Requests of a mix follow each other in a fixed pattern, so the shares are known.
        sets=round(operations * job.mix.get("set", 0) / total),
        gets=round(operations * job.mix.get("get", 0) / total),
        creates=round(operations * job.mix.get("create", 0) / total),
        generator_share=own_s / elapsed_s,
        cpu_s=[cpu_s(pid) - before for pid, before in zip(job.pids, cpu_before, strict=True)],
        latency_us=[(float(micros), latencies[micros]) for micros in sorted(latencies)],
    )


def _own_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """One job from the argument to standard output."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    try:
        outcome = measure(job, lambda line: print(line, flush=True))
    except (BadReply, OutOfRequests, GeneratorFailed) as failure:
        sys.exit(str(failure))
    print(msgspec.json.encode(outcome).decode())


if __name__ == "__main__":
    main()
