"""One role after the other: which one a peer is in, and that nothing of the one before goes on (trap 27)."""

import msgspec

from trioquorum.events import Event, PeerStarted, StateChanged
from trioquorum.invariants import invariant
from trioquorum.storage.database import Database
from trioquorum.storage.log_writer import LogWriter

LEARNS = ("following", "observing")
LEADS = ("leading",)
FEEDS = ("following",)


class Role(msgspec.Struct):
    """The present one of a peer; ``number`` counts all of them, over restarts."""

    number: int = 0
    state: str = ""
    appended: int = 0


class Roles:
    """Who is in which role."""

    def __init__(self) -> None:
        self._roles: dict[int, Role] = {}

    def of(self, peer: int) -> Role:
        """The present role of ``peer``."""
        role = self._roles.get(peer)
        if role is None:
            role = self._roles[peer] = Role()
        return role

    def speaks(self, peer: int, number: int, states: tuple[str, ...], **facts: object) -> None:
        """A frame leaves that belongs to role ``number`` of ``peer``, which must be one of ``states``."""
        role = self.of(peer)
        invariant(
            role.number == number and role.state in states,
            "nothing of a role leaves after its end",
            peer=peer,
            role=number,
            present=role.number,
            state=role.state,
            **facts,
        )

    def event(self, peer: int, db: Database | None, event: Event) -> None:
        """Look at a change of state."""
        match event:
            case PeerStarted() | StateChanged(new="starting"):
                # Its disk is full, or was: it goes on with what is found there.
                role = self.of(peer)
                role.number += 1
                role.state = "starting"
            case StateChanged(new=state):
                role = self.of(peer)
                if db is not None:
                    _check_log(peer, role, db.log, state)
                    role.appended = db.log.appended
                role.number += 1
                role.state = state


def _check_log(peer: int, role: Role, log: LogWriter, state: str) -> None:
    """Nothing is under way between roles."""
    if role.state == "looking":
        invariant(log.appended == role.appended, "who looks for a leader logs nothing", peer=peer, new=state)
    else:
        invariant(
            log.last_flushed >= log.last_appended,
            "the log is drained before the next role",
            peer=peer,
            appended=log.last_appended,
            flushed=log.last_flushed,
        )
