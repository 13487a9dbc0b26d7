"""ZooKeeper's four-letter words: plain-text questions on the client port (config §5)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from trioquorum import __version__
from trioquorum.config import ServerConfig
from trioquorum.events import Events
from trioquorum.limits import Limits
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.service import Service
from trioquorum.pipeline.stats import ServerStats
from trioquorum.server.admission import Admission

NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"
NOT_ALLOWED = "{} is not executed because it is not in the whitelist.\n"


def settings_text(config: ServerConfig) -> str:
    """What ``conf`` answers: ZooKeeper's keys, a line each."""
    ports = {address.scheme == "tls": address.port for address in reversed(config.client_addresses)}
    values: dict[str, object] = {
        "clientPort": ports.get(False, -1),
        "secureClientPort": ports.get(True, -1),
        "dataDir": config.data_dir / "version-2",
        "dataLogDir": config.data_log_dir / "version-2",
        "tickTime": config.tick_time_ms,
        "maxClientCnxns": config.limits.connections_per_ip_max,
        "minSessionTimeout": config.min_session_timeout_ms,
        "maxSessionTimeout": config.max_session_timeout_ms,
        "clientPortListenBacklog": config.client_listen_backlog,
        "serverId": config.my_id,
    }
    me = config.me
    if me is None:
        return "".join(f"{name}={value}\n" for name, value in values.items())
    values |= {
        "initLimit": config.init_limit_ticks,
        "syncLimit": config.sync_limit_ticks,
        "electionAlg": 3,
        "electionPort": me.election.port,
        "quorumPort": me.quorum.port,
        "peerType": int(me.role == "observer"),
        "membership: ": "",
    }
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    return lines.replace("membership: =", "membership: ") + config.quorum_config().text() + "\n"


class Answerer(msgspec.Struct, kw_only=True):
    """What the words read. ``settings`` is ``conf``'s text; ``connections`` are the tables of the open ports.

    Ports and connections find here what a peer has one of for all its ports: ``admission``, counters, limits.
    """

    admission: Admission
    stats: ServerStats
    limits: Limits
    events: Events
    allowed: frozenset[str]
    settings: str
    clock: Callable[[], float]
    connections: list[Mapping[Any, Client]] = []

    def answer(self, word: str, service: Service | None) -> bytes:
        """The reply to ``word``, given the service of the present role (none while looking)."""
        if word not in self.allowed:
            return NOT_ALLOWED.format(word).encode()
        if word == "ruok":
            return b"imok"
        if word == "isro":
            return b"null" if service is None else b"ro" if service.read_only else b"rw"
        if service is None:
            return NOT_SERVING.encode()
        return _ANSWERS[word](self, service).encode()

    def clients(self) -> Iterable[Client]:
        """Every open connection."""
        return [client for table in self.connections for client in table.values()]


def _srvr(answerer: Answerer, service: Service) -> str:
    return _version(service) + _server(answerer, service)


def _stat(answerer: Answerer, service: Service) -> str:
    clients = "".join(
        f" /{c.address}[{1 if c.session else 0}](queued={len(c.waiting)},recved={c.received},sent={c.sent})\n"
        for c in answerer.clients()
    )
    return f"{_version(service)}Clients:\n{clients}\n{_server(answerer, service)}"


def _version(service: Service) -> str:
    version = f"Zookeeper version: 3.9.0-trioquorum-{__version__}, built on Trio\n"
    return version + "READ-ONLY mode; serving only read-only clients\n" if service.read_only else version


def _server(answerer: Answerer, service: Service) -> str:
    stats = answerer.stats
    lines = [
        f"Latency min/avg/max: {stats.latency_ms_min:.0f}/{stats.latency_ms_avg:.4f}/{stats.latency_ms_max:.0f}",
        f"Received: {sum(c.received for c in answerer.clients()) + stats.received}",
        f"Sent: {sum(c.sent for c in answerer.clients()) + stats.sent}",
        f"Connections: {len(list(answerer.clients()))}",
        f"Outstanding: {service.inflight}",
        f"Zxid: {service.tree.last_zxid:#x}",
        f"Mode: {service.mode}",
        f"Node count: {len(service.tree.nodes)}",
    ]
    if service.mode == "leader":
        sizes = (stats.proposal_bytes_last, stats.proposal_bytes_min, stats.proposal_bytes_max)
        lines.append("Proposal sizes last/min/max: {}/{}/{}".format(*sizes))
    return "\n".join(lines) + "\n"


def _mntr(answerer: Answerer, service: Service) -> str:
    stats, tree = answerer.stats, service.tree
    values: dict[str, object] = {
        "version": f"3.9.0-trioquorum-{__version__}",
        "server_state": service.mode,
        "peer_state": _PEER_STATES[service.mode],
        "avg_latency": f"{stats.latency_ms_avg:.4f}",
        "max_latency": f"{stats.latency_ms_max:.0f}",
        "min_latency": f"{stats.latency_ms_min:.0f}",
        "packets_received": sum(c.received for c in answerer.clients()) + stats.received,
        "packets_sent": sum(c.sent for c in answerer.clients()) + stats.sent,
        "num_alive_connections": len(list(answerer.clients())),
        "outstanding_requests": service.inflight,
        "znode_count": len(tree.nodes),
        "watch_count": tree.watches.data.watches() + tree.watches.child.watches(),
        "ephemerals_count": sum(len(paths) for paths in tree.ephemerals.values()),
        "global_sessions": len(tree.sessions),
        "local_sessions": 0 if service.local is None else len(service.local),
        "connection_rejected": stats.connections_refused,
        "large_requests_rejected": stats.large_requests_rejected,
        "stale_requests": stats.stale_requests,
        "stale_requests_dropped": stats.stale_requests_dropped,
        "throttled_ops": stats.throttled_ops,
        "request_throttle_wait_count": stats.throttle_waits,
        "frames_refused": stats.frames_refused,
        "connection_token_deficit": answerer.admission.throttle.deficit,
        "connection_drop_probability": answerer.admission.throttle.drop,
        "last_zxid": f"{tree.last_zxid:#x}",
    }
    values |= service.monitor()
    return "".join(f"zk_{name}\t{value}\n" for name, value in values.items())


_PEER_STATES = {
    "standalone": "standalone",
    "leader": "leading - broadcast",
    "follower": "following - broadcast",
    "observer": "observing - broadcast",
    "read-only": "looking - election",
}


def _cons(answerer: Answerer, service: Service) -> str:
    del service
    return "".join(_connection(client, answerer.clock()) for client in answerer.clients()) + "\n"


def _connection(client: Client, now: float) -> str:
    start = f" /{client.address}[{1 if client.session else 0}]"
    counts = f"queued={len(client.waiting)},recved={client.received},sent={client.sent}"
    if not client.session:
        return f"{start}({counts})\n"
    return (
        f"{start}({counts},sid={client.session & (1 << 64) - 1:#x},lop={client.last_op},"
        f"age_ms={int((now - client.since) * 1000)},to={client.timeout_ms},"
        f"lcxid={client.last_xid:#x},lzxid={client.last_zxid:#x})\n"
    )


def _conf(answerer: Answerer, service: Service) -> str:
    del service
    return answerer.settings


_ANSWERS: dict[str, Callable[[Answerer, Service], str]] = {
    "srvr": _srvr,
    "stat": _stat,
    "mntr": _mntr,
    "cons": _cons,
    "conf": _conf,
}

WORDS = frozenset(word.encode() for word in ("ruok", "isro", *_ANSWERS))
"""The words this server knows; anything else on a new connection is the length of a ConnectRequest."""
