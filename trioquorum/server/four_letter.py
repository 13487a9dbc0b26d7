"""ZooKeeper's four-letter words: plain-text questions on the client port (config §5)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from trioquorum.config import ServerConfig
from trioquorum.events import Events
from trioquorum.limits import Limits
from trioquorum.metrics import Metrics
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.service import Service
from trioquorum.pipeline.stats import ServerStats
from trioquorum.server import words_clients, words_server
from trioquorum.server.admission import Admission
from trioquorum.settings import FOUR_LETTER_WORDS
from trioquorum.storage.disk import Disk
from trioquorum.storage.room import DiskRoom
from trioquorum.transport import Address
from trioquorum.zab.quorum import QuorumConfig

NOT_SERVING: Final = "This ZooKeeper instance is not currently serving requests\n"
NOT_ALLOWED: Final = "{} is not executed because it is not in the whitelist.\n"
_MASK_BYTES: Final = 8
_TRACE_MASK: Final = 306

WORDS: Final = frozenset(word.encode() for word in FOUR_LETTER_WORDS)
"""The words this server knows; anything else on a new connection is the length of a ConnectRequest."""


class Answerer(msgspec.Struct, kw_only=True):
    """What the words read, and what ports and connections have one of: ``admission``, counters, limits.

    ``membership`` and ``client_addresses`` tell what is in force now, ``folders`` are those of snapshots and of logs,
    ``room`` what is left there, ``connections`` the tables of the open ports. ``clock`` gives seconds, ``wall_ms`` the
    time of day.
    """

    admission: Admission
    stats: ServerStats
    metrics: Metrics
    limits: Limits
    events: Events
    config: ServerConfig
    membership: Callable[[], QuorumConfig]
    client_addresses: Callable[[], Sequence[Address]]
    folders: tuple[Disk, Disk]
    room: DiskRoom
    clock: Callable[[], float]
    wall_ms: Callable[[], int]
    trace_mask: int = _TRACE_MASK
    connections: list[Mapping[Any, Client]] = []

    def answer(self, word: str, service: Service | None, mask: bytes = b"") -> bytes:
        """The reply to ``word``, given the service of the present role (none while looking).

        ``mask`` is what came behind the word, which stmk takes.
        """
        if word not in self.config.four_letter_words:
            return NOT_ALLOWED.format(word).encode()
        if word == "isro":
            return b"null" if service is None else b"ro" if service.read_only else b"rw"
        if word == "stmk":
            if len(mask) < _MASK_BYTES:
                return b""
            self.trace_mask = int.from_bytes(mask[:_MASK_BYTES], "big", signed=True)
        if word in _ALWAYS:
            return _ALWAYS[word](self).encode()
        if service is None:
            return NOT_SERVING.encode()
        return _SERVING[word](self, service).encode()

    def clients(self) -> Iterable[Client]:
        """Every open connection."""
        return [client for table in self.connections for client in table.values()]


def _imok(answerer: Answerer) -> str:
    del answerer
    return "imok"


def _trace_mask(answerer: Answerer) -> str:
    """Kept for whoever sets it: what this server logs is up to ``--log-level``."""
    return str(answerer.trace_mask)


_ALWAYS: Final[Mapping[str, Callable[[Answerer], str]]] = {
    "ruok": _imok,
    "gtmk": _trace_mask,
    "stmk": _trace_mask,
    "envi": words_server.environment,
}
"""Words that are answered whether the peer serves or not."""

_SERVING: Final[Mapping[str, Callable[[Answerer, Service], str]]] = {
    "conf": words_server.configuration,
    "cons": words_clients.connections,
    "crst": words_clients.reset_connections,
    "dirs": words_server.directories,
    "dump": words_clients.dump,
    "hash": words_server.digests,
    "mntr": words_server.monitor,
    "srst": words_clients.reset_server,
    "srvr": words_server.server,
    "stat": words_server.statistics,
    "wchc": words_clients.watches_by_session,
    "wchp": words_clients.watches_by_path,
    "wchs": words_clients.watch_summary,
}
"""Words that need a service."""
