"""Where learners call: accepted links, and which of them is whose (quorum-protocol §8)."""

import trio

from trioquorum.peer.learner_handler import LearnerHandler, LearnerMaster
from trioquorum.transport import Address, Link, Listener, Transports

LISTEN_RETRY_S = 0.1


async def listen(transports: Transports, address: Address, frame_bytes_max: int, patience_s: float) -> Listener:
    """Bind a port for learners; the socket of an earlier term may still be closing.

    Raises:
        OSError: it cannot be bound within ``patience_s``; ``filename`` holds the address.
    """
    transport = transports[address.scheme]
    give_up_at = trio.current_time() + patience_s
    while True:
        try:
            return await transport.listen(address, frame_bytes_max=frame_bytes_max)
        except OSError as error:
            if trio.current_time() >= give_up_at:
                raise OSError(error.errno, error.strerror or str(error), str(address)) from None
        await trio.sleep(LISTEN_RETRY_S)


class LearnerPort:
    """The learners of one ``master``: one handler for each link, and for each learner its newest link.

    ``departures`` wakes who waits for learners to leave.
    """

    def __init__(self, master: LearnerMaster) -> None:
        self.handlers: dict[int, LearnerHandler] = {}
        self.departures = trio.lowlevel.ParkingLot()
        self._master = master
        self._silent: dict[LearnerHandler, None] = {}

    async def accept(self, listener: Listener) -> None:
        """Serve whoever calls, until cancelled."""
        links_max = self._master.peer.config.limits.handshake_links_max
        async with trio.open_nursery() as nursery:
            while True:
                link = await listener.accept()
                if len(nursery.child_tasks) >= links_max and not self._make_room():
                    await link.aclose()
                    continue
                nursery.start_soon(self._handler(link).run, name=f"learner {link.remote}")

    def _handler(self, link: Link) -> LearnerHandler:
        handler = LearnerHandler(link, self._master)
        self._silent[handler] = None
        return handler

    def _make_room(self) -> bool:
        """Give up the caller that has been silent longest: a learner says at once who it is. False if all have."""
        for handler in self._silent:
            handler.give_up("too many callers have not said who they are")
            self.introduced(handler)
            return True
        return False

    def introduced(self, handler: LearnerHandler) -> None:
        """A caller said who it is, or is gone."""
        self._silent.pop(handler, None)

    def joined(self, handler: LearnerHandler) -> None:
        """A learner was admitted; an older link of the same peer is given up."""
        older = self.handlers.get(handler.sid)
        if older is not None:
            older.give_up("the learner came back on a new link")
            self._master.forget(handler.sid)
        self.handlers[handler.sid] = handler

    def serves(self, handler: LearnerHandler) -> bool:
        """Whether this is the present link of its learner."""
        return self.handlers.get(handler.sid) is handler

    def left(self, handler: LearnerHandler) -> None:
        """A learner's link ended."""
        if self.handlers.get(handler.sid) is handler:
            del self.handlers[handler.sid]
            self._master.forget(handler.sid)
            self.departures.unpark_all()

    def ping(self, last_proposed: int, *, refuses_writes: bool) -> None:
        """Ask every learner for a sign of life."""
        for handler in list(self.handlers.values()):
            handler.ping(last_proposed, refuses_writes=refuses_writes)
