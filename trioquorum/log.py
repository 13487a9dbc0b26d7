"""Log lines: structlog on stderr, and the reader that turns each event into one of them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

import msgspec

from trioquorum.events import Event, EventSink


@contextmanager
def _without_rich() -> Iterator[None]:
    """While structlog is imported: it would take rich along, for tracebacks that are never logged here.

    That is a fifth of a peer's start and 5 MiB of it. Where rich is there already, nothing is hidden.
    """
    hidden = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    yield
    if hidden is None:
        del sys.modules["rich"]


with _without_rich():
    import structlog

LEVELS: Final = {"trace": 5, "debug": 10, "info": 20, "warning": 30, "error": 40}
"""Loudness by name; ``trace`` has a line for every batch of transactions."""


def configure(level: str, *, json: bool, stream: TextIO | None = None) -> None:
    """Set structlog up for the whole process: lines of ``level`` and louder, on stderr unless ``stream`` is given.

    With ``json`` a line is one JSON object, else text, coloured on a terminal.
    """
    stream = stream or sys.stderr
    renderer: structlog.typing.Processor
    if json:
        renderer = structlog.processors.JSONRenderer(serializer=_to_json)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0, sort_keys=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(max(LEVELS[level], LEVELS["debug"])),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def log_events(server: int, level: str = "info") -> EventSink:
    """A reader that writes events of ``level`` and louder as lines of ``server``; ``configure`` comes first.

    Zxids and sessions are written in hexadecimal, as ZooKeeper's own tools do. A line that stderr does not take is
    lost: a peer does not stop because nobody reads its log.
    """
    threshold = LEVELS[level]
    methods = structlog.get_logger().bind(server=server)
    write: dict[str, Callable[..., object]] = {
        "trace": methods.debug,
        "debug": methods.debug,
        "info": methods.info,
        "warning": methods.warning,
        "error": methods.error,
    }

    def read(event: Event) -> None:
        if LEVELS[event.level] < threshold:
            return
        fields = {name: _shown(name, getattr(event, name)) for name in event.__struct_fields__}
        if event.level == "trace":
            fields["level"] = "trace"
        try:
            write[event.level](event.__struct_config__.tag, **fields)
        except OSError:
            return

    return read


def _shown(name: str, value: object) -> object:
    if isinstance(value, int) and (name == "session" or name.endswith("zxid")):
        return f"{value & (1 << 64) - 1:#x}"
    return value


def _add_level(_logger: object, method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    line.setdefault("level", method)
    return line


def _to_json(line: object, **_options: object) -> str:
    return msgspec.json.encode(line).decode()
