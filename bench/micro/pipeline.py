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
    """A server, and the driver of its one connection."""

    def __init__(self) -> None:
        limits, events, stats, disk = Limits(), Events(_unheard), ServerStats(), MemoryDisk()
        config = standalone(None, STANDALONE_CLIENT)
        self._log = ReadyLog(TxnLog(disk, events), limits, events, 0)
        db = Database(disk, TxnLog(disk, events), self._log, limits, events, DataTree)
        terms = Terms(
            server_id=0,
            tick_time_ms=config.tick_time_ms,
            session_timeout_ms_min=config.min_session_timeout_ms,
            session_timeout_ms_max=config.max_session_timeout_ms,
            limits=limits,
            clock=time.perf_counter,
            wall_ms=lambda: TIME_MS,
            auth=Authentication(config.auth, lambda: "a nonce"),
        )
        alone = QuorumConfig([Member(0, "memory://nowhere", "memory://nowhere")])
        self._service = LeaderService(
            db,
            terms,
            SessionIds(0, TIME_MS),
            stats,
            events,
            machine=Leader(0, alone, epoch=0),
            first_zxid=0,
            standalone=True,
        )
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
        self._connection = Connection(self, "127.0.0.1:1", "127.0.0.1", self._service, answerer, 0.0)
        self._names = count()
        self.turn(client.connect_frame(client.Session(), 30_000))
        for path in ("/bench", "/bench/load", PATH):
            self.turn(client.request(1, Op.CREATE, client.create_body(path, VALUE)))

    def output_ready(self, client: Client) -> None:
        """``Driver``: replies are counted at the end of the turn."""

    def resume(self, client: Client) -> None:
        """``Driver``: the service reads on."""
        assert isinstance(client, Connection)
        client.resume()

    def turn(self, data: bytes) -> int:
        """One wake-up: what a client sent, to the last reply; how many there were.

        Raises:
            RuntimeError: the client is not answered.
        """
        connection, service, log = self._connection, self._service, self._log
        connection.feed(data)
        while True:
            service.flush()
            if log.last_flushed < log.last_appended:
                log.last_flushed = log.last_appended
                service.logged(log.last_flushed)
            elif connection.stalled and not connection.held:
                connection.resume()
            else:
                break
        replies = len(connection.outbox)
        if not replies or connection.closing:
            raise RuntimeError("the server does not answer")
        connection.outbox.clear()
        connection.outbox_bytes = 0
        return replies

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
    desk = Desk()
    yield Micro("getData", partial(desk.turn, b"".join(gets)), BATCH)
    yield Micro("setData", partial(desk.turn, b"".join(sets)), BATCH)
    yield Micro("create, its request's encoding included", desk.create, BATCH)
    yield Micro("four getData, one setData", partial(desk.turn, b"".join(mixed)), BATCH)
    yield Micro("getData, one at a time", partial(desk.turn, gets[0]))
    yield Micro("setData, one at a time", partial(desk.turn, sets[0]))
