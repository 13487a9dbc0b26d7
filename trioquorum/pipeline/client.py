"""One client's connection as the pipeline sees it: a session, its unanswered requests and an outbox."""

from collections import deque
from typing import Protocol

from trioquorum.metrics import Summary
from trioquorum.pipeline.stats import Traffic
from trioquorum.wire.client import event_frame
from trioquorum.wire.digest_md5 import DigestServer


class Driver(Protocol):
    """What moves a client's bytes (server/): told when there is something to do, never awaited."""

    def output_ready(self, client: "Client") -> None:
        """``client.outbox`` has frames, or ``client.closing`` was set."""

    def resume(self, client: "Client") -> None:
        """``client.held`` was cleared: parse what was kept back and read on."""


class Client:
    """State shared by the connection, which feeds it, and the role's service, which answers.

    ``waiting`` holds this session's requests from its oldest unanswered write on; a read behind it waits, a read with
    nothing in front is answered at once (client-protocol §20.1).
    """

    __slots__ = (
        "address",
        "at_once",
        "auth",
        "before",
        "closing",
        "driver",
        "fence",
        "heard",
        "held",
        "last_op",
        "last_xid",
        "last_zxid",
        "outbox",
        "outbox_bytes",
        "owner",
        "password",
        "read_only",
        "reads",
        "received",
        "responded",
        "sasl",
        "sent",
        "session",
        "since",
        "timeout_ms",
        "updates",
        "waiting",
    )

    def __init__(self, driver: Driver, address: str, auth: list[tuple[str, str]], since: float) -> None:
        self.driver = driver
        self.address = address
        self.auth = auth
        self.sasl: DigestServer | None = None
        self.since = self.heard = since
        self.session = 0
        # Commits up to this zxid answer nothing here: they are of the session's earlier connections, on any peer,
        # whose xids this one may repeat.
        self.fence = -1
        self.timeout_ms = 0
        self.password = b""
        self.read_only: bool | None = None
        self.waiting: deque[tuple[int, int, bytes, float]] = deque()
        # What its session's requests go by at the leader: this peer's id or LOCAL_SESSION, nothing before it has one.
        self.owner: object = None
        self.outbox: list[bytes] = []
        self.outbox_bytes = 0
        self.held = False
        self.closing = False
        self.before: Traffic | None = None
        self.begin_counting()
        self.forget_last()

    def begin_counting(self) -> None:
        """Count packets and latencies from here on; ``before`` may keep what there was."""
        self.received = 0
        self.sent = 0
        self.at_once = 0
        self.updates = Summary()
        self.reads = Summary()

    def forget_last(self) -> None:
        """As if the client had not asked for anything yet (``crst``)."""
        self.last_op: int | None = None
        self.last_xid = -1
        self.last_zxid = -1
        self.responded = 0.0

    @property
    def traffic(self) -> Traffic:
        """What there was since ``begin_counting``."""
        return Traffic(self.received, self.sent, self.at_once, self.updates, self.reads)

    def send(self, frame: bytes) -> None:
        """Put a frame into the outbox; the driver sends it when this wake-up's work is done."""
        if not self.outbox:
            self.driver.output_ready(self)
        self.outbox.append(frame)
        self.outbox_bytes += len(frame)

    def notify(self, event_type: int, path: str, zxid: int) -> None:
        """A watch fired: its event leaves before any later reply."""
        self.send(event_frame(event_type, path, zxid))

    def close(self) -> None:
        """Close the connection behind what is in the outbox."""
        if not self.closing:
            self.closing = True
            self.driver.output_ready(self)

    def hold(self) -> None:
        """Stop reading requests from this client until ``release``."""
        self.held = True

    def release(self) -> None:
        """Read on."""
        if self.held:
            self.held = False
            self.driver.resume(self)
