"""A leader's reconfigurations: noted on disk between the machine's steps (quorum-protocol §19).

The proposal is on disk before it can be committed, what is decided before anybody hears that it is committed: nothing
from the proposal on is committed but by ``activate``, which comes behind both.
"""

from typing import TYPE_CHECKING

import trio

from trioquorum.errors import RoleEnded
from trioquorum.peer.following import LAST_REPLIES_S
from trioquorum.zab.reconfig import keeps_address

if TYPE_CHECKING:
    from trioquorum.peer.leading import Leading


class Reconfiguring:
    """Carries the reconfigurations of one term through."""

    def __init__(self, leading: "Leading") -> None:
        self._leading = leading
        self._woken = trio.Event()
        leading.service.on_reconfig = self._wake

    def _wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            RoleEnded: another peer is to lead, or this one where its learners do not look for it yet.
        """
        machine = self._leading.service.machine
        members = self._leading.peer.members
        while True:
            await self._woken.wait()
            self._woken = trio.Event()
            if machine.last_seen.version > members.last_seen.version:
                await members.propose(machine.last_seen)
            if machine.decided is not None:
                await self._activate()

    async def _activate(self) -> None:
        service, peer = self._leading.service, self._leading.peer
        machine, my_id = service.machine, peer.config.my_id
        old, new = machine.config, machine.decided
        assert new is not None
        ends = await peer.members.activate(new, my_id, machine.designated)
        service.activate()
        if ends or not keeps_address(my_id, old, new):
            await self._let_go()
            raise RoleEnded(f"configuration {new.version:#x} is led by peer {machine.designated}")

    async def _let_go(self) -> None:
        """Learners leave on their own when they have read whom to follow; that must reach them, and clients replies."""
        await trio.sleep(LAST_REPLIES_S)
        port = self._leading.port
        with trio.move_on_after(self._leading.peer.config.tick_time_ms / 2000):
            await trio.lowlevel.checkpoint()
            while port.handlers:
                await port.departures.park()
        await trio.lowlevel.checkpoint()
