"""A client connection, sans I/O: bytes in, frames to the role's service, bytes out.

Two drivers serve it: the port and its poller for plain sockets (``port``), and a task of its own for
everything else (``links``).
"""

import math
from collections.abc import Callable
from typing import Final

from librt.strings import read_i32_be

from trioquorum.errors import FrameRefused, PeerProtocolError
from trioquorum.events import ClientFrameRefused, ClientRefused
from trioquorum.pipeline.client import Client, Driver
from trioquorum.pipeline.service import Service
from trioquorum.server.four_letter import WORDS, Answerer
from trioquorum.wire.client import REQUEST_HEADER, decode_connect
from trioquorum.wire.framing import FrameSplitter

TURN_S: Final = 0.005  # a request may cost a walk over the whole tree, and thousands arrive at once
CLOCK_EVERY: Final = 16
_TELNET_CLOSE = b"\xff\xf4\xff\xfd"


class Connection(Client):
    """``feed`` what arrived; take ``outbox`` and ``closing`` when the driver is told of output."""

    __slots__ = ("_answerer", "_frames", "_kept", "_new", "_service", "_word_over", "ip")

    def __init__(
        self,
        driver: Driver,
        address: str,
        ip: str,
        service: Service | None,
        answerer: Answerer,
        since: float,
        subject: str = "",
    ) -> None:
        """``subject`` is that of the client's certificate, if it was verified."""
        known = [] if service is None else service.terms.auth.newcomer(ip, subject)
        super().__init__(driver, address, known, since)
        self.ip = ip
        self._service = service
        self._answerer = answerer
        self._frames = FrameSplitter(answerer.limits.client_frame_bytes_max)
        self._kept: list[bytes] = []
        self._new = True
        self._word_over = False

    @property
    def new(self) -> bool:
        """No session was asked for yet."""
        return self._new

    def patience_ends(self, awake_since: float = -math.inf) -> float:
        """When the connection is to be closed unless something arrives before (client-protocol §1).

        Whoever is read from later than ``awake_since`` may have spoken before that. Connections with a session end
        together, at multiples of the time that those without one have.
        """
        sessionless_s = self._answerer.limits.client_sessionless_ms / 1000
        if self._new:
            return self.since + sessionless_s
        if self.held or self._kept:
            return math.inf
        silent_s = max(self.heard, awake_since) + self.timeout_ms / 1000
        return (silent_s // sessionless_s + 1) * sessionless_s

    def give_up(self) -> None:
        """Tell why a connection with a session is closed now that ``patience_ends``."""
        if not self._new:
            reason = "was silent for the timeout of its session"
            self._answerer.events.emit(ClientRefused(address=self.address, reason=reason))

    def feed(self, data: bytes) -> None:
        """Bytes from the client: every complete request goes to the service; a bad frame closes the connection."""
        if self.closing:
            return
        self._answerer.stats.bytes_received += len(data)
        if self._service is not None:
            self._service.heard(self)
        if not self._word_over and self._four_letter(self._frames.pending + data):
            return
        try:
            frames = self._frames.feed(data)
        except FrameRefused as error:
            self._take(error.frames)
            self._answerer.stats.frames_refused += 1
            too_large = ClientFrameRefused(
                address=self.address, session=self.session, size_bytes=error.size, limit_bytes=error.limit
            )
            self._answerer.events.emit(too_large)
            self.close()
            return
        self._take(frames)

    @property
    def stalled(self) -> bool:
        """Requests were kept back: the driver must not read on.

        Unless the client is ``held`` or ``behind``, the driver calls ``resume`` when the others had their turn.
        """
        return bool(self._kept)

    @property
    def behind(self) -> bool:
        """The client leaves too many of its replies unread."""
        return self.outbox_bytes > self._answerer.limits.client_outbox_bytes_max

    def resume(self) -> None:
        """The hold is over, or there is room in the outbox again: take what was kept back."""
        kept, self._kept = self._kept, []
        self._take(kept)

    def lost(self) -> None:
        """The connection is gone; the driver calls this exactly once."""
        self.closing = True
        self._answerer.stats.gone.add(self.traffic)
        if self._service is not None:
            self._service.closed(self)

    def _take(self, frames: list[bytes]) -> None:
        if self._kept:
            self._kept += frames
            return
        if len(frames) == 1 and self._hand_on_one(frames[0]):
            return
        taken = self._hand_on(frames)
        self._count(frames, taken)
        if not self.closing:
            self._kept = frames[taken:]

    def _count(self, frames: list[bytes], taken: int) -> None:
        """Once per batch: how many packets, and the last request; special xids are not a client's own (§4)."""
        self.received += taken
        for index in range(taken - 1, -1, -1):
            if len(frames[index]) < REQUEST_HEADER.size or (self.received == taken and index == 0):
                continue  # nothing, or the ConnectRequest
            xid: int = read_i32_be(frames[index], 0)
            op: int = read_i32_be(frames[index], 4)
            if index == taken - 1:
                self.last_op = op
            if xid >= 0:
                self.last_xid = xid
                return

    def _hand_on_one(self, payload: bytes) -> bool:
        """The same as below for what comes most: one request of an open session that is not to wait."""
        service = self._service
        if self._new or service is None or self.held or self.closing or self.behind:
            return False
        service.take(self, payload)
        self.received += 1
        if len(payload) >= REQUEST_HEADER.size:
            xid, self.last_op = REQUEST_HEADER.unpack_from(payload)
            if xid >= 0:
                self.last_xid = xid
        return True

    def _hand_on(self, frames: list[bytes]) -> int:
        """Give the frames to the service while it takes them and the turn lasts; how many that were."""
        clock = self._answerer.clock
        unread_max = self._answerer.limits.client_outbox_bytes_max
        take = None if self._service is None else self._service.take
        turn_ends = clock() + TURN_S if len(frames) >= CLOCK_EVERY else math.inf
        for index, payload in enumerate(frames):
            if index % CLOCK_EVERY == CLOCK_EVERY - 1 and clock() > turn_ends:
                return index
            if self.held or self.closing or self.outbox_bytes > unread_max:
                return index
            if self._new:
                self._connect(payload)
            elif take is not None:
                take(self, payload)
        return len(frames)

    def _connect(self, payload: bytes) -> None:
        if self._service is None:
            self._refuse("this peer does not serve now")
            return
        try:
            request, read_only = decode_connect(payload)
        except PeerProtocolError as error:
            self._refuse(str(error))
            return
        throttle = self._answerer.admission.throttle
        cost = throttle.cost(renewal=request.session != 0, local=self._service.local is not None)
        if not throttle.admits(cost, int(self._answerer.clock() * 1000)):
            self._answerer.stats.connections_refused += 1
            self._refuse("too many sessions are asked for")
            return
        self._new = False
        self._service.connect(self, request, read_only)

    def _four_letter(self, start: bytes) -> bool:
        """Answer a four-letter word, which only the first four bytes can be; true if the connection is no client's."""
        if len(start) < 4:
            return False
        self._word_over = True
        word = start[:4]
        if word in WORDS:
            self.received += 1
            self.send(self._answerer.answer(word.decode(), self._service, start[4:]))
            self.close()
            return True
        if word == _TELNET_CLOSE:
            self.close()
            return True
        return False

    def _refuse(self, reason: str) -> None:
        self._answerer.events.emit(ClientRefused(address=self.address, reason=reason))
        self.close()


ConnectionFactory = Callable[[Driver, str, str, float], Connection]
