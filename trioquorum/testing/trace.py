"""What happened in a run, as lines that are the same whenever the run is."""

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from trioquorum.events import Event

TAIL_LINES: Final = 200

Tell = Callable[[str], object]


class Trace:
    """Takes the events of a run; the last ``TAIL_LINES`` are kept. ``digest`` is of every line so far.

    Lines are made only where somebody reads them: ``tell`` is handed each, ``hashed`` says that the digest is wanted.
    """

    def __init__(self, tell: Tell | None = None, *, hashed: bool = False) -> None:
        self._tail: deque[tuple[float, int, Event]] = deque(maxlen=TAIL_LINES)
        self._tell = tell
        self._hash = hashlib.sha256() if hashed else None

    def add(self, time_s: float, peer: int, event: Event) -> None:
        """One event of ``peer``, or of nobody (0)."""
        self._tail.append((time_s, peer, event))
        if self._tell is None and self._hash is None:
            return
        line = render(time_s, peer, event)
        if self._tell is not None:
            self._tell(line)
        if self._hash is not None:
            self._hash.update(line.encode() + b"\n")

    @property
    def tail(self) -> list[str]:
        """The last lines."""
        return [render(*entry) for entry in self._tail]

    @property
    def digest(self) -> str:
        """SHA-256 of all lines, if it was asked for."""
        return self._hash.hexdigest() if self._hash is not None else ""


def render(time_s: float, peer: int, event: Event) -> str:
    """One line: when, who, what."""
    who = f"peer {peer}" if peer else "faults"
    tag = event.__struct_config__.tag
    fields = " ".join(f"{name}={_show(name, getattr(event, name))}" for name in event.__struct_fields__)
    return f"{time_s:11.6f}  {who:7}  {tag} {fields}".rstrip()


def _show(name: str, value: Any) -> str:
    if "zxid" in name and isinstance(value, int) and value >= 0:
        return f"{value:#x}"
    if isinstance(value, msgspec.Struct):
        return str(msgspec.structs.asdict(value))
    return repr(value) if isinstance(value, str) and (not value or " " in value) else str(value)
