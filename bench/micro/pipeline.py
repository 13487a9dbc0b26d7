"""A standalone server's whole pipeline, from the bytes of requests to the bytes of replies, without sockets or disk."""

import time
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

from bench import wire as client
from bench.micro.codec import PATH, VALUE
from bench.micro.timing import BATCH, Micro
from bench.micro.tree import TIME_MS
from trioquorum.config import STANDALONE_CLIENT, standalone
from trioquorum.events import Event, Events
from trioquorum.limits import Limits
from trioquorum.metrics import Metrics
from trioquorum.pipeline.auth import Authentication
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.leader import LeaderService
from trioquorum.pipeline.service import Service
from trioquorum.pipeline.stats import ServerStats
from trioquorum.pipeline.terms import Terms
from trioquorum.server.admission import Admission
from trioquorum.server.connection import Connection
from trioquorum.server.connection_throttle import ConnectionThrottle
from trioquorum.server.four_letter import Answerer
from trioquorum.storage.database import Database
from trioquorum.storage.log_writer import LogWriter
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.room import DiskRoom
from trioquorum.storage.txn_log import TxnLog
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.sessions import SessionIds
from trioquorum.wire.ops import Op
from trioquorum.zab.leader import Leader
from trioquorum.zab.quorum import Member, QuorumConfig


class ReadyLog(LogWriter):
    """What is appended counts as durable once the wake-up is over."""

    def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        self.last_appended = records[-1][0]


class Desk:
    """A peer without tasks, and the driver of its one connection. ``parts`` are what every service is made of."""

    def __init__(self, sid: int = 0) -> None:
        limits, events, stats, disk = Limits(), Events(_unheard), ServerStats(), MemoryDisk()
        config = standalone(None, STANDALONE_CLIENT)
        self.log = ReadyLog(TxnLog(disk, events), limits, events, 0)
        self.db = db = Database(disk, TxnLog(disk, events), self.log, limits, events, DataTree)
        terms = Terms(
            server_id=sid,
            tick_time_ms=config.tick_time_ms,
            session_timeout_ms_min=config.min_session_timeout_ms,
            session_timeout_ms_max=config.max_session_timeout_ms,
            limits=limits,
            clock=time.perf_counter,
            wall_ms=lambda: TIME_MS,
            auth=Authentication(config.auth, lambda: "a nonce"),
        )
        self.parts = (db, terms, SessionIds(sid, TIME_MS), stats, events)
        self.service = self.make_service()
        answerer = Answerer(
            admission=Admission(limits, stats, events, ConnectionThrottle(config.throttles, Random(0), 0)),
            stats=stats,
            metrics=Metrics(time.perf_counter),
            limits=limits,
            events=events,
            config=config,
            membership=config.quorum_config,
            client_addresses=lambda: config.client_addresses,
            folders=(disk, disk),
            room=DiskRoom((disk,), 0, events),
            clock=time.perf_counter,
            wall_ms=lambda: TIME_MS,
        )
        self._connection = Connection(self, "127.0.0.1:1", "127.0.0.1", self.service, answerer, 0.0)

    def make_service(self) -> Service:
        """The service of a role, made of ``parts``."""
        alone = QuorumConfig([Member(0, "memory://nowhere", "memory://nowhere")])
        return LeaderService(*self.parts, machine=Leader(0, alone, epoch=0), first_zxid=0, standalone=True)

    def output_ready(self, client: Client) -> None:
        """``Driver``: replies are counted at the end of the turn."""

    def resume(self, client: Client) -> None:
        """``Driver``: the service reads on."""
        assert isinstance(client, Connection)
        client.resume()

    def feed(self, data: bytes) -> None:
        """What the client sent."""
        self._connection.feed(data)

    def go_on(self) -> bool:
        """Take what was kept back of that, if there is anything."""
        connection = self._connection
        if not connection.stalled or connection.held:
            return False
        connection.resume()
        return True

    def collect(self) -> int:
        """How many replies the client got.

        Raises:
            RuntimeError: it was not answered, but closed.
        """
        connection = self._connection
        replies = len(connection.outbox)
        if connection.closing:
            raise RuntimeError("the server closes the connection")
        connection.outbox.clear()
        connection.outbox_bytes = 0
        return replies


class Standalone(Desk):
    """A server that is alone."""

    def __init__(self) -> None:
        super().__init__()
        self._names = count()
        self.turn(client.connect_frame(client.Session(), 30_000))
        for path in ("/bench", "/bench/load", PATH):
            self.turn(client.request(1, Op.CREATE, client.create_body(path, VALUE)))

    def turn(self, data: bytes) -> None:
        """One wake-up: what a client sent, to the last reply.

        Raises:
            RuntimeError: the client is not answered.
        """
        service, log = self.service, self.log
        assert isinstance(service, LeaderService)
        self.feed(data)
        while True:
            service.flush()
            if log.last_flushed < log.last_appended:
                log.last_flushed = log.last_appended
                service.logged(log.last_flushed)
            elif not self.go_on():
                break
        if not self.collect():
            raise RuntimeError("the server does not answer")

    def create(self) -> None:
        """A batch of creates of new znodes."""
        bodies = [client.create_body(f"/bench/load/c{next(self._names)}", VALUE) for _ in range(BATCH)]
        self.turn(b"".join(client.request(xid, Op.CREATE, body) for xid, body in enumerate(bodies, 1)))


def _unheard(event: Event) -> None:
    """Nobody listens, as when nothing is logged."""
    del event


def micros(folder: Path) -> Iterable[Micro]:
    """Batches of 64 requests, 100 B values."""
    del folder
    get, put = client.get_body(PATH), client.set_body(PATH, VALUE)
    gets = [client.request(xid, Op.GET_DATA, get) for xid in range(1, BATCH + 1)]
    sets = [client.request(xid, Op.SET_DATA, put) for xid in range(1, BATCH + 1)]
    mixed = [sets[k] if k % 5 == 4 else gets[k] for k in range(BATCH)]
    desk = Standalone()
    yield Micro("getData", partial(desk.turn, b"".join(gets)), BATCH)
    yield Micro("setData", partial(desk.turn, b"".join(sets)), BATCH)
    yield Micro("create, its request's encoding included", desk.create, BATCH)
    yield Micro("four getData, one setData", partial(desk.turn, b"".join(mixed)), BATCH)
    yield Micro("getData, one at a time", partial(desk.turn, gets[0]))
    yield Micro("setData, one at a time", partial(desk.turn, sets[0]))
