"""Four-letter words about the server: srvr, stat, mntr, conf, dirs, envi, hash (config §5, §7)."""

import getpass
import os
import platform
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from trioquorum.compiled import BUILD
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.service import Service
from trioquorum.pipeline.stats import Traffic, total
from trioquorum.tree.nodes import DataTree

if TYPE_CHECKING:
    from trioquorum.server.four_letter import Answerer

VERSION: Final = f"3.9.0-trioquorum-{BUILD}, built on Trio"
_OPEN_FILES: Final = Path("/proc/self/fd")
_DATA_FOLDER: Final = "version-2"
_PEER_STATES: Final = {
    "leader": "leading - broadcast",
    "follower": "following - broadcast",
    "observer": "observing - broadcast",
    "read-only": "looking - election",
}


def all_traffic(answerer: "Answerer") -> Traffic:
    """Of the connections there are and of those that are gone."""
    return total([answerer.stats.gone, *(client.traffic for client in answerer.clients())])


def node_count(tree: DataTree) -> int:
    """ZooKeeper counts the root twice."""
    return len(tree.nodes) + 1


# -- srvr, stat --------------------------------------------------------------------------------------------------------


def server(answerer: "Answerer", service: Service) -> str:
    """``srvr``."""
    return _version(service) + _state(answerer, service)


def statistics(answerer: "Answerer", service: Service) -> str:
    """``stat``: who is connected as well."""
    clients = "".join(f"{brief(client)})\n" for client in answerer.clients())
    return f"{_version(service)}Clients:\n{clients}\n{_state(answerer, service)}"


def brief(client: Client) -> str:
    """The beginning of a connection's line: what it is ready for, and its packets."""
    traffic = total([client.traffic] if client.before is None else [client.before, client.traffic])
    ready = 0 if client.closing or not client.session else 1
    counts = f"queued={len(client.waiting)},recved={traffic.received},sent={traffic.sent}"
    return f" /{client.address}[{ready}]({counts}"


def _version(service: Service) -> str:
    text = f"Zookeeper version: {VERSION}\n"
    return text + "READ-ONLY mode; serving only read-only clients\n" if service.read_only else text


def _state(answerer: "Answerer", service: Service) -> str:
    traffic, stats = all_traffic(answerer), answerer.stats
    latency = traffic.latency
    lines = [
        f"Latency min/avg/max: {latency.min:.0f}/{latency.average}/{latency.max:.0f}",
        f"Received: {traffic.received}",
        f"Sent: {traffic.sent}",
        f"Connections: {len(list(answerer.clients()))}",
        f"Outstanding: {service.inflight}",
        f"Zxid: {service.tree.last_zxid:#x}",
        f"Mode: {service.mode}",
        f"Node count: {node_count(service.tree)}",
    ]
    if service.mode == "leader":
        sizes = (stats.proposal_bytes_last, stats.proposal_bytes_min, stats.proposal_bytes_max)
        lines.append("Proposal sizes last/min/max: {}/{}/{}".format(*sizes))
    return "\n".join(lines) + "\n"


# -- mntr --------------------------------------------------------------------------------------------------------------


def monitor(answerer: "Answerer", service: Service) -> str:
    """``mntr``."""
    told: dict[str, object] = {"version": VERSION, "server_state": service.mode}
    if service.mode in _PEER_STATES:
        told["peer_state"] = _PEER_STATES[service.mode]
    told |= metrics_of(answerer, service)
    return "".join(f"zk_{name}\t{value}\n" for name, value in told.items())


def metrics_of(answerer: "Answerer", service: Service) -> dict[str, object]:
    """Every metric of a serving peer by ZooKeeper's name: only what is really measured here."""
    return _gauges(answerer, service) | _counters(answerer) | _summaries(answerer, service)


def _gauges(answerer: "Answerer", service: Service) -> dict[str, object]:
    traffic, tree, metrics = all_traffic(answerer), service.tree, answerer.metrics
    latency = traffic.latency
    values: dict[str, object] = {
        "avg_latency": latency.average,
        "max_latency": int(latency.max),
        "min_latency": int(latency.min),
        "packets_received": traffic.received,
        "packets_sent": traffic.sent,
        "num_alive_connections": len(list(answerer.clients())),
        "outstanding_requests": service.inflight,
        "uptime": metrics.ms_since(metrics.started),
        "znode_count": node_count(tree),
        "watch_count": tree.watches.data.watches() + tree.watches.child.watches(),
        "ephemerals_count": sum(map(len, tree.ephemerals.values())),
        "approximate_data_size": tree.data_bytes,
        "global_sessions": len(tree.sessions),
        "local_sessions": 0 if service.local is None else len(service.local),
        "connection_drop_probability": answerer.admission.throttle.drop,
        "last_zxid": f"{tree.last_zxid:#x}",
        "disk_free_bytes": answerer.room.free_bytes,
        "disk_nearly_full": int(answerer.room.nearly_full),
    }
    values |= _files()
    if service.mode in ("leader", "follower", "observer"):
        values["quorum_size"] = len(answerer.membership().voters)
    if metrics.led_since is not None:
        values["leader_uptime"] = metrics.ms_since(metrics.led_since)
    return values | service.monitor()


def _files() -> dict[str, object]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits: dict[str, object] = {"max_file_descriptor_count": soft}
    if not _OPEN_FILES.is_dir():
        return limits
    return {"open_file_descriptor_count": len(tuple(_OPEN_FILES.iterdir())) - 1} | limits  # one is the listing's own


def _counters(answerer: "Answerer") -> dict[str, object]:
    stats = answerer.stats
    return {
        "connection_request_count": stats.sessions_asked,
        "connection_revalidate_count": stats.sessions_brought,
        "revalidate_count": stats.revalidations,
        "connection_rejected": stats.connections_refused,
        "connection_drop_count": stats.connections_dropped,
        "sessionless_connections_expired": stats.sessionless_dropped,
        "bytes_received_count": stats.bytes_received,
        "large_requests_rejected": stats.large_requests_rejected,
        "stale_requests": stats.stale_requests,
        "stale_requests_dropped": stats.stale_requests_dropped,
        "throttled_ops": stats.throttled_ops,
        "request_throttle_wait_count": stats.throttle_waits,
        "frames_refused": stats.frames_refused,
        "writes_refused": stats.writes_refused,
        "connection_token_deficit": answerer.admission.throttle.deficit,
        "proposal_count": stats.proposals,
        "commit_count": stats.commits,
        "learner_proposal_received_count": stats.learner_proposals,
        "learner_commit_received_count": stats.learner_commits,
    }


def _summaries(answerer: "Answerer", service: Service) -> dict[str, object]:
    traffic, log = all_traffic(answerer), service.db.log
    return (
        answerer.metrics.values()
        | traffic.read_latency.named("readlatency")
        | traffic.updates.named("updatelatency")
        | log.flushes.named("fsynctime")
        | log.batches.named("sync_processor_batch_size")
    )


# -- conf, dirs, envi, hash --------------------------------------------------------------------------------------------


def configuration(answerer: "Answerer", service: Service) -> str:
    """``conf``: the settings, and the ensemble's configuration that is in force."""
    del service
    config = answerer.config
    data, logs = (folder.used_bytes() for folder in answerer.folders)
    values: dict[str, object] = {
        "clientPort": _port(answerer, secure=False),
        "secureClientPort": _port(answerer, secure=True),
        "dataDir": (config.data_dir / _DATA_FOLDER).absolute(),
        "dataDirSize": data,
        "dataLogDir": (config.data_log_dir / _DATA_FOLDER).absolute(),
        "dataLogSize": logs,
        "tickTime": config.tick_time_ms,
        "maxClientCnxns": config.limits.connections_per_ip_max,
        "minSessionTimeout": config.min_session_timeout_ms,
        "maxSessionTimeout": config.max_session_timeout_ms,
        "clientPortListenBacklog": config.client_listen_backlog,
        "serverId": config.my_id,
    }
    if config.peers:
        values |= _quorum_values(answerer)
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    return lines + f"membership: \n{answerer.membership().text()}" if config.peers else lines


def _port(answerer: "Answerer", *, secure: bool) -> int:
    addresses = answerer.client_addresses()
    return next((it.port for it in addresses if it.scheme in (("tls",) if secure else ("tcp", "memory"))), -1)


def _quorum_values(answerer: "Answerer") -> dict[str, object]:
    config = answerer.config
    values: dict[str, object] = {
        "initLimit": config.init_limit_ticks,
        "syncLimit": config.sync_limit_ticks,
        "electionAlg": 3,
    }
    membership = answerer.membership()
    me = membership.members.get(config.my_id)
    if me is not None:
        values["electionPort"] = me.election.rpartition(":")[2]
        values["quorumPort"] = me.quorum.rpartition(":")[2]
    return values | {"peerType": int(me is None or config.my_id not in membership.voters)}


def directories(answerer: "Answerer", service: Service) -> str:
    """``dirs``."""
    del service
    data, logs = answerer.folders
    return f"datadir_size: {data.used_bytes()}\nlogdir_size: {logs.used_bytes()}\n"


def environment(answerer: "Answerer") -> str:
    """``envi``: what of ZooKeeper's list there is without a JVM."""
    del answerer
    system = platform.uname()
    values = {
        "zookeeper.version": VERSION,
        "host.name": system.node,
        "python.version": platform.python_version(),
        "trio.version": trio.__version__,
        "os.name": system.system,
        "os.arch": system.machine,
        "os.version": system.release,
        "user.name": process_user(),
        "user.home": Path("~").expanduser(),
        "user.dir": Path.cwd(),
    }
    return "Environment:\n" + "".join(f"{name}={value}\n" for name, value in values.items())


def process_user() -> str:
    """Who runs this server."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        return str(os.getuid())


def digests(answerer: "Answerer", service: Service) -> str:
    """``hash``: the tree's digest at every 128th transaction; equal on all peers, or their trees differ."""
    del answerer
    return "".join(f"{zxid:x}: {_signed(digest)}\n" for zxid, digest in service.db.digests.history)


def _signed(digest: int) -> int:
    """As Java writes 64 bits."""
    return digest if digest < 1 << 63 else digest - (1 << 64)
