"""Another peer, as the election links know it."""

from typing import Final

import trio

from trioquorum.transport import Address

YOUNG_LINK_S: Final = 1.0
"""A link that held this long was good: when it ends we dial again at once, and a call while it seems up means it is
dead. A younger one may have crossed the call."""


class MeshPeer:
    """What we know of another peer: its link, what waits for it, when to dial it. ``changed`` wakes who waits on it."""

    def __init__(self, sid: int, address: Address, *, guest: bool = False) -> None:
        self.sid = sid
        self.address = address
        self.guest = guest
        self.named: Address | None = None  # where to dial next, and only then
        self.life = trio.CancelScope()  # of its dialling
        self.waiting: bytes | None = None
        self.last: bytes | None = None
        self.call_now = False
        self.failures = 0  # dials since a link last held
        self.changed = trio.lowlevel.ParkingLot()
        self.scope: trio.CancelScope | None = None  # of its link
        self.up_since = 0.0
        self.silent_resends = 0  # over its link since anything came
        self.end_reason = ""

    @property
    def wants_link(self) -> bool:
        """Whether there is no link, and something to say or a wish to call."""
        return self.scope is None and (self.call_now or self.waiting is not None)

    @property
    def link_is_young(self) -> bool:
        """Whether the link has only just come up."""
        return self.scope is not None and trio.current_time() - self.up_since < YOUNG_LINK_S

    def put(self, frame: bytes) -> None:
        """Send ``frame`` in place of what still waits."""
        self.waiting = frame
        self.changed.unpark_all()

    def call(self, named: Address | None = None) -> None:
        """Dial without waiting for the backoff, if there is no link; at ``named`` if the peer said that it is there.

        A peer may not have heard yet that its address changed, and could not if it were called at the new one alone.
        """
        self.named = named
        self.call_now = True
        self.failures = 0
        self.changed.unpark_all()

    def take_address(self) -> Address:
        """Where to dial this time."""
        named, self.named = self.named, None
        return named or self.address

    def link_up(self, scope: trio.CancelScope) -> None:
        """There is a link, which ``scope`` ends; what was said last is said again."""
        self.scope = scope
        self.up_since = trio.current_time()
        self.silent_resends = 0
        self.call_now = False
        self.named = None
        if self.waiting is None:
            self.waiting = self.last

    def end_link(self, reason: str) -> None:
        """End the link, if there is one."""
        if self.scope is not None:
            self.end_reason = reason
            self.scope.cancel(reason=reason)
            self.scope = None

    def link_down(self, scope: trio.CancelScope, reason: str) -> str:
        """The link of ``scope`` is gone; returns why, in the words of whoever ended it."""
        if self.scope is not scope:
            return self.end_reason
        self.scope = None
        if trio.current_time() - self.up_since >= YOUNG_LINK_S:
            self.failures = 0
        self.changed.unpark_all()
        return reason
