"""A standalone server without sockets, tasks, clock or disk: bytes in, bytes out, and what must hold afterwards."""

import struct
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Final

from trioquorum.config import STANDALONE_CLIENT, standalone
from trioquorum.errors import Code
from trioquorum.events import Event, Events
from trioquorum.limits import Limits
from trioquorum.metrics import Metrics
from trioquorum.pipeline.auth import Authentication
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.leader import LeaderService
from trioquorum.pipeline.stats import ServerStats
from trioquorum.pipeline.terms import Terms
from trioquorum.server.admission import Admission
from trioquorum.server.connection import Connection
from trioquorum.server.connection_throttle import ConnectionThrottle
from trioquorum.server.four_letter import WORDS, Answerer
from trioquorum.storage.database import Database
from trioquorum.storage.log_writer import LogWriter
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.room import DiskRoom
from trioquorum.storage.txn_log import TxnLog
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.sessions import SessionIds
from trioquorum.wire.framing import FrameSplitter
from trioquorum.wire.ops import EventType, Op, Xid
from trioquorum.zab.leader import Leader
from trioquorum.zab.quorum import Member, QuorumConfig

LIMITS: Final = Limits(client_frame_bytes_max=1 << 12)
TIME_MS: Final = 1_700_000_000_000

_HEADER = struct.Struct(">iqi")
_CODES = frozenset(Code)
_EVENT_TYPES = frozenset(EventType)
_EVENT_BYTES_MIN = 28


class ReadyLog(LogWriter):
    """What is appended is durable as soon as the role asks: ``Desk.settle`` says so."""

    def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        self.last_appended = records[-1][0]


class Desk:
    """The server, and the ``Driver`` of its connections. ``refused`` counts what it would not take from anybody."""

    def __init__(self) -> None:
        events = Events(self._note)
        stats = ServerStats()
        log = ReadyLog(TxnLog(MemoryDisk(), events), LIMITS, events, 0)
        disk = MemoryDisk()
        config = standalone(None, STANDALONE_CLIENT)
        db = Database(disk, TxnLog(disk, events), log, LIMITS, events, DataTree)
        terms = Terms(
            server_id=0,
            tick_time_ms=2000,
            session_timeout_ms_min=4000,
            session_timeout_ms_max=40_000,
            limits=LIMITS,
            clock=lambda: 1.0,
            wall_ms=lambda: TIME_MS,
            auth=Authentication(config.auth, lambda: "a nonce"),
        )
        machine = Leader(0, QuorumConfig([Member(0, "memory://nowhere", "memory://nowhere")]), epoch=0)
        ids = SessionIds(0, TIME_MS)
        self.service = LeaderService(db, terms, ids, stats, events, machine=machine, first_zxid=0, standalone=True)
        self.service.start()
        self.log = log
        self.seen: list[Event] = []
        self._answerer = Answerer(
            admission=Admission(LIMITS, stats, events, ConnectionThrottle(config.throttles, Random(0), 0)),
            stats=stats,
            metrics=Metrics(lambda: 1.0),
            limits=LIMITS,
            events=events,
            config=config,
            membership=config.quorum_config,
            client_addresses=lambda: config.client_addresses,
            folders=(disk, disk),
            room=DiskRoom((disk,), 0, events),
            clock=lambda: 1.0,
            wall_ms=lambda: TIME_MS,
        )
        self._committed = 0

    def _note(self, event: Event) -> None:
        self.seen.append(event)

    def output_ready(self, client: Client) -> None:
        """``Driver``: output stays in the outbox."""

    def resume(self, client: Client) -> None:
        """``Driver``: the service reads from this client again."""
        assert isinstance(client, Connection)
        client.resume()

    def connection(self) -> Connection:
        """A caller."""
        return Connection(self, "127.0.0.1:1", "127.0.0.1", self.service, self._answerer, 0.0)

    def settle(self, *connections: Connection) -> None:
        """The end of a wake-up, and everything that follows from it."""
        while True:
            self.service.flush()
            if self.log.last_appended > self._committed:
                self._committed = self.log.last_appended
                self.service.logged(self._committed)
                continue
            waiting = [each for each in connections if each.stalled and not each.held and not each.behind]
            if not waiting:
                return
            for each in waiting:
                each.resume()


def talk(desk: Desk, pieces: list[bytes]) -> tuple[bytes, bool]:
    """One connection says ``pieces`` and leaves: all that it was answered, and whether it was closed.

    Checks what must hold for any bytes.
    """
    connection = desk.connection()
    for piece in pieces:
        connection.feed(piece)
        desk.settle(connection)
        connection.outbox_bytes = 0  # who takes its answers is never behind
    said, answer, closed = b"".join(pieces), b"".join(connection.outbox), connection.closing
    if not closed:
        assert not connection.held, "it is held, and nobody will let it go"
        assert not connection.stalled, "requests are kept back that nobody will take up"
        assert not connection.waiting, "requests wait that nobody will answer"
    connection.lost()
    desk.settle()
    assert not desk.service.inflight
    assert not desk.service.tree.watches
    assert not desk.service.clients
    assert not desk.service.connecting
    if said[:4] in WORDS:
        assert closed
    else:
        _check(said, answer, closed=closed)
    return answer, closed


def _check(said: bytes, answer: bytes, *, closed: bool) -> None:
    """Every answer is one that the protocol has and belongs to a request, in order; none is missing, unless closed."""
    asked = requests(said)
    answers = FrameSplitter(1 << 30).feed(answer)
    if answers:
        assert len(answers[0]) in (36, 37), "the handshake's answer"
    replies = Counter[int]()
    for payload in answers[1:]:
        xid, _, err = _HEADER.unpack_from(payload)
        assert err in _CODES, f"{err} is no result code"
        if xid == Xid.NOTIFICATION and len(payload) >= _EVENT_BYTES_MIN and payload[19] in _EVENT_TYPES:
            continue
        replies[xid] += 1
    expected = Counter(Xid.PING if op == Op.PING else xid for xid, op in asked)
    # A session that ended answers its last requests, pings too, by their own xids.
    expected += Counter(xid for xid, op in asked if closed and op == Op.PING)
    if Xid.NOTIFICATION in expected:  # then a reply may look like an event
        del expected[Xid.NOTIFICATION], replies[Xid.NOTIFICATION]
    assert replies <= expected, f"answers to nothing: {replies - expected}"
    assert closed or replies == expected, f"no answer to {expected - replies}"


def requests(said: bytes) -> list[tuple[int, int]]:
    """xid and opcode of every request behind the handshake, up to the first frame of a forbidden length."""
    found = []
    at = 0
    while at + 4 <= len(said):
        (size,) = struct.unpack_from(">i", said, at)
        if not 0 <= size <= LIMITS.client_frame_bytes_max or at + 4 + size > len(said):
            break
        if at and size >= 8:
            found.append(struct.unpack_from(">ii", said, at + 4))
        at += 4 + size
    return found


def pieces_of(data: bytes, size: int) -> list[bytes]:
    """``data`` cut every ``size`` bytes."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def examine(data: bytes, size: int) -> None:
    """The checks of ``talk``, whatever the bytes; cut every ``size`` bytes, if not 0, the same comes of them."""
    whole = Desk()
    answer, closed = talk(whole, [data])
    if size == 0:
        return
    cut = Desk()
    answer_cut, closed_cut = talk(cut, pieces_of(data, size))
    if not closed and not closed_cut and all(op not in (Op.AUTH, Op.SASL) for _, op in requests(data)):
        # A connection that is closed loses what is under way, and identities are answered at once.
        assert answer == answer_cut
        assert whole.service.tree.digest == cut.service.tree.digest
        assert whole.service.tree.last_zxid == cut.service.tree.last_zxid
