"""Four-letter words about clients: cons, crst, srst, dump, wchc, wchp, wchs (config §5)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from trioquorum.pipeline.client import Client
from trioquorum.pipeline.service import Service
from trioquorum.pipeline.stats import Traffic, total
from trioquorum.server.words_server import brief
from trioquorum.tree.watches import Watcher
from trioquorum.wire.ops import WRITES, Op

if TYPE_CHECKING:
    from trioquorum.server.four_letter import Answerer

_OPERATIONS: Final[Mapping[int | None, str]] = {
    Op.PING: "PING",
    Op.MULTI: "MULT",
    Op.MULTI_READ: "MLTR",
    Op.CREATE: "CREA",
    Op.CREATE2: "CREA",
    Op.CREATE_TTL: "CREA",
    Op.CREATE_CONTAINER: "CREA",
    Op.DELETE: "DELE",
    Op.DELETE_CONTAINER: "DELE",
    Op.SET_DATA: "SETD",
    Op.RECONFIG: "RECO",
    Op.SET_ACL: "SETA",
    Op.CLOSE_SESSION: "CLOS",
    Op.SYNC: "SYNC",
    Op.CHECK: "CHEC",
    Op.EXISTS: "EXIS",
    Op.GET_DATA: "GETD",
    Op.SET_WATCHES: "SETW",
    Op.SET_WATCHES2: "STW2",
    Op.ADD_WATCH: "ADDW",
    Op.GET_ACL: "GETA",
    Op.GET_CHILDREN: "GETC",
    Op.GET_CHILDREN2: "GETC",
    Op.GET_ALL_CHILDREN_NUMBER: "GETACN",
    Op.CHECK_WATCHES: "CHKW",
    Op.REMOVE_WATCHES: "REMW",
    Op.WHO_AM_I: "HOMI",
    Op.GET_EPHEMERALS: "GETE",
}


def hexadecimal(number: int) -> str:
    """A signed 64-bit number as Java writes it."""
    return f"{number & (1 << 64) - 1:#x}"


# -- cons, crst, srst --------------------------------------------------------------------------------------------------


def connections(answerer: "Answerer", service: Service) -> str:
    """``cons``: every connection with all that is known of it."""
    del service
    return "".join(f"{brief(client)}{_session(answerer, client)})\n" for client in answerer.clients()) + "\n"


def _session(answerer: "Answerer", client: Client) -> str:
    if not client.session:
        return ""
    traffic = total([client.traffic] if client.before is None else [client.before, client.traffic])
    latency = traffic.latency
    # Only of requests that waited for a while is it known how long.
    waited = traffic.updates if client.last_op in WRITES else traffic.reads
    parts: dict[str, object] = {
        "sid": hexadecimal(client.session),
        "lop": _OPERATIONS.get(client.last_op, "NA"),
        "est": answerer.wall_ms() - int((answerer.clock() - client.since) * 1000),
        "to": client.timeout_ms,
    }
    if client.last_xid >= 0:
        parts["lcxid"] = f"{client.last_xid:#x}"
    parts |= {
        "lzxid": hexadecimal(client.last_zxid),
        "lresp": int(client.responded * 1000),
        "llat": int(waited.last),
        "minlat": int(latency.min),
        "avglat": int(latency.average),
        "maxlat": int(latency.max),
    }
    return "".join(f",{name}={value}" for name, value in parts.items())


def reset_connections(answerer: "Answerer", service: Service) -> str:
    """``crst``: what ``cons`` tells begins anew; the server's own numbers go on."""
    del service
    for client in answerer.clients():
        answerer.stats.gone.add(client.traffic)
        client.before = None
        client.begin_counting()
        client.forget_last()
    return "Connection stats reset.\n"


def reset_server(answerer: "Answerer", service: Service) -> str:
    """``srst``: the server's numbers begin anew; what ``cons`` tells goes on."""
    answerer.stats.reset()
    answerer.metrics.reset()
    service.db.log.begin_counting()
    for client in answerer.clients():
        client.before = total([client.before or Traffic(), client.traffic])
        client.begin_counting()
    return "Server stats reset.\n"


# -- dump --------------------------------------------------------------------------------------------------------------


def dump(answerer: "Answerer", service: Service) -> str:
    """``dump``: sessions, who owns ephemerals, connections."""
    tree = service.tree
    ephemerals = "".join(
        f"{hexadecimal(session)}:\n" + "".join(f"\t{path}\n" for path in sorted(paths))
        for session, paths in tree.ephemerals.items()
    )
    return (
        f"SessionTracker dump:\n{_sessions(answerer, service)}"
        f"ephemeral nodes dump:\nSessions with Ephemerals ({len(tree.ephemerals)}):\n{ephemerals}"
        f"Connections dump:\n{_connections(answerer)}"
    )


def _sessions(answerer: "Answerer", service: Service) -> str:
    own, deadlines = "", service.session_deadlines()
    if service.local is not None:
        own = f"Local {_session_sets(answerer, service.local.deadlines())}"
    if deadlines is not None:
        return f"{own}{'Global ' if own else ''}{_session_sets(answerer, deadlines)}"
    sessions = service.tree.sessions
    lines = "".join(f"{hexadecimal(session)}\t{sessions[session]}ms\n" for session in sorted(sessions))
    return f"{own}Global Sessions({len(sessions)}):\n{lines}"


def _session_sets(answerer: "Answerer", deadlines: Mapping[int, list[int]]) -> str:
    return _sets(answerer, "Session", {ms: list(map(hexadecimal, ids)) for ms, ids in deadlines.items()})


def _connections(answerer: "Answerer") -> str:
    """Connections by when they end, unless they are heard of: sessions keep theirs, others must ask for one."""
    sets: dict[int, list[str]] = {}
    for client in answerer.clients():
        patience_ms = client.timeout_ms if client.session else answerer.limits.client_sessionless_ms
        last_s = max(client.since, client.responded)
        line = f"ip: /{client.address} sessionId: {hexadecimal(client.session)}"
        sets.setdefault(int(last_s * 1000) + patience_ms, []).append(line)
    return _sets(answerer, "Connections", sets)


def _sets(answerer: "Answerer", what: str, sets: Mapping[int, list[str]]) -> str:
    """What expires, by when: keys are milliseconds of the clock."""
    wall_ms, clock_ms = answerer.wall_ms(), int(answerer.clock() * 1000)
    lines = "".join(
        f"{len(members)} expire at {_date(wall_ms + due - clock_ms)}:\n" + "".join(f"\t{line}\n" for line in members)
        for due, members in sorted(sets.items())
    )
    return f"{what} Sets ({len(sets)})/({sum(map(len, sets.values()))}):\n{lines}"


def _date(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).strftime("%a %b %d %H:%M:%S UTC %Y")


# -- wchs, wchc, wchp --------------------------------------------------------------------------------------------------


def watch_summary(answerer: "Answerer", service: Service) -> str:
    """``wchs``; like the other two it knows of data watches only, as in ZooKeeper."""
    del answerer
    table = service.tree.watches.data
    watchers, paths = len(table.watchers()), len(table.paths())
    return f"{watchers} connections watching {paths} paths\nTotal watches:{table.watches()}\n"


def watches_by_session(answerer: "Answerer", service: Service) -> str:
    """``wchc``."""
    del answerer
    found = service.tree.watches.data.watchers().items()
    return "".join(f"{_holder(who)}\n" + "".join(f"\t{path}\n" for path in paths) for who, paths in found) + "\n"


def watches_by_path(answerer: "Answerer", service: Service) -> str:
    """``wchp``."""
    del answerer
    found = service.tree.watches.data.paths().items()
    return "".join(f"{path}\n" + "".join(f"\t{_holder(who)}\n" for who in holders) for path, holders in found) + "\n"


def _holder(watcher: Watcher) -> str:
    return hexadecimal(watcher.session) if isinstance(watcher, Client) else "0x0"
