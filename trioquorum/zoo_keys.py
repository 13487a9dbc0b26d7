"""What each key of ``zoo.cfg`` means here: which setting or limit it is, and how its value is read (config §3, §4)."""

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from trioquorum.errors import ConfigError
from trioquorum.limits import Limits
from trioquorum.properties import Entry
from trioquorum.settings import FOUR_LETTER_WORDS, Settings

_TRUTHS: Final = {"true": True, "yes": True, "false": False, "no": False}


def _text(entry: Entry) -> str:
    return entry.value


def integer(entry: Entry) -> int:
    """A whole number; ZooKeeper's manual writes some as ``0xfffff``, and Java takes that."""
    try:
        return int(entry.value, 16 if entry.value.lower().startswith(("0x", "-0x")) else 10)
    except ValueError:
        raise ConfigError(f"{entry.where}: {entry.key} is {entry.value!r}; write a whole number") from None


def _number(entry: Entry) -> float:
    try:
        return float(entry.value)
    except ValueError:
        raise ConfigError(f"{entry.where}: {entry.key} is {entry.value!r}; write a number") from None


def truth(entry: Entry) -> bool:
    """ZooKeeper takes ``true``/``false`` for some keys and ``yes``/``no`` for others; both are taken for all."""
    found = _TRUTHS.get(entry.value.lower())
    if found is None:
        raise ConfigError(f"{entry.where}: {entry.key} is {entry.value!r}; write true or false")
    return found


def refuse_protection(entry: Entry) -> None:
    """Running without what the operator asked to be protected by would be worse than not running."""
    asks = truth(entry) if entry.value.lower() in _TRUTHS else bool(entry.value)
    if asks:
        raise ConfigError(f"{entry.where}: {entry.key} asks for a protection that is not offered; remove it")


def house_name(entry: Entry) -> str | None:
    """The setting or limit that a key names as ``peers.toml`` does, ``trioquorum.<name>``: ZooKeeper has no such key.

    Raises:
        ConfigError: there is no such setting, or ZooKeeper has a name for it.
    """
    if not entry.key.startswith(_HOUSE):
        return None
    name = entry.key.removeprefix(_HOUSE)
    if name not in _HOUSE_TYPES:
        raise ConfigError(f"{entry.where}: there is no setting {name!r}; remove {entry.key} or correct its spelling")
    theirs = {field: key for key, (field, _) in SETTINGS.items()} | {field: key for key, field in LIMITS.items()}
    if name in theirs:
        raise ConfigError(f"{entry.where}: {entry.key} has a name in ZooKeeper; write {theirs[name]}")
    return name


def house_value(entry: Entry, name: str) -> object:
    """What ``entry`` sets the setting or limit ``name`` to."""
    try:
        return msgspec.convert(entry.value, _HOUSE_TYPES[name], strict=False)
    except msgspec.ValidationError:
        kind = getattr(_HOUSE_TYPES[name], "__name__", str(_HOUSE_TYPES[name]))
        raise ConfigError(f"{entry.where}: {entry.key} is {entry.value!r}; write a value of type {kind}") from None


_HOUSE: Final = "trioquorum."
_HOUSE_TYPES: Final = {field.name: field.type for kind in (Settings, Limits) for field in msgspec.structs.fields(kind)}


def _timeout(entry: Entry) -> int:
    """A session timeout bound; ZooKeeper writes -1 for the default of so many ticks."""
    return max(0, integer(entry))


def _kibibytes(entry: Entry) -> int:
    return integer(entry) * 1024


def _words(entry: Entry) -> frozenset[str]:
    words = frozenset(word.strip() for word in entry.value.split(",") if word.strip())
    if "*" in words:
        return FOUR_LETTER_WORDS
    if unknown := sorted(words - FOUR_LETTER_WORDS):
        raise ConfigError(
            f"{entry.where}: {unknown[0]!r} is no four-letter word of ZooKeeper; remove it from {entry.key}"
        )
    return words


def _compression(entry: Entry) -> str:
    if entry.value not in ("", "gz", "snappy"):
        raise ConfigError(f"{entry.where}: {entry.key} is {entry.value!r}; write gz or snappy, or leave it empty")
    return entry.value


def _purges(entry: Entry) -> bool:
    """An interval, with or without a unit, that is not 0."""
    found = re.fullmatch(r"(\d+)\s*(?:ms|[dhms])?", entry.value)
    if not found:
        raise ConfigError(
            f"{entry.where}: {entry.key} is {entry.value!r}; write hours, or a number with d, h, m, s or ms"
        )
    return int(found[1]) > 0


SETTINGS: Final[Mapping[str, tuple[str, Callable[[Entry], object]]]] = {
    "tickTime": ("tick_time_ms", integer),
    "initLimit": ("init_limit_ticks", integer),
    "syncLimit": ("sync_limit_ticks", integer),
    "connectToLearnerMasterLimit": ("learner_connect_limit_ticks", integer),
    "minSessionTimeout": ("min_session_timeout_ms", _timeout),
    "maxSessionTimeout": ("max_session_timeout_ms", _timeout),
    "4lw.commands.whitelist": ("four_letter_words", _words),
    "leaderServes": ("leader_serves", truth),
    "quorumListenOnAllIPs": ("quorum_listen_on_all_ips", truth),
    "readonlymode.enabled": ("read_only_enabled", truth),
    "localSessionsEnabled": ("local_sessions", truth),
    "localSessionsUpgradingEnabled": ("local_sessions_upgrading", truth),
    "clientPortListenBacklog": ("client_listen_backlog", integer),
    "clientTcpKeepAlive": ("client_keep_alive", truth),
    "forceSync": ("force_sync", truth),
    "fsync.warningthresholdms": ("slow_flush_ms", integer),
    "preAllocSize": ("log_preallocate_bytes", _kibibytes),
    "snapSizeLimitInKb": ("snapshot_log_bytes", lambda entry: max(0, _kibibytes(entry))),
    "snapshotSizeFactor": ("snapshot_size_factor", _number),
    "snapshot.compression.method": ("snapshot_compression", _compression),
    "digest.enabled": ("tree_digests", truth),
    "db.autocreate": ("trust_empty_data", truth),
    "snapshot.trust.empty": ("trust_missing_snapshot", truth),
    "autopurge.purgeInterval": ("purge_enabled", _purges),
    "DigestAuthenticationProvider.superDigest": ("super_digest", _text),
    "enableEagerACLCheck": ("acls_checked_early", truth),
    "enforceQuota": ("quotas_enforced", truth),
    "audit.enable": ("audit_enabled", truth),
    "extendedTypesEnabled": ("extended_types_enabled", truth),
    "emulate353TTLNodes": ("emulate_353_ttl_nodes", truth),
    "znode.container.checkIntervalMs": ("container_check_interval_ms", integer),
    "znode.container.maxPerMinute": ("container_deletions_per_minute_max", integer),
    "znode.container.maxNeverUsedIntervalMs": ("container_unused_ms_max", integer),
    "reconfigEnabled": ("reconfig_enabled", truth),
    "standaloneEnabled": ("voters_min", lambda entry: 2 if truth(entry) else 1),
    "cnxTimeout": ("connect_timeout_ms", integer),
    "fastleader.minNotificationInterval": ("election_resend_ms_min", integer),
    "fastleader.maxNotificationInterval": ("election_resend_ms_max", integer),
    "observer.reconnectDelayMs": ("observer_reconnect_delay_ms", integer),
    "leaderConnectDelayDuringRetryMs": ("learner_connect_retry_ms", integer),
    "leader.maxTimeToWaitForEpoch": ("leader_max_wait_for_epoch_ms", integer),
    "oraclePath": ("oracle_path", _text),
    "observer.election.DelayMs": ("observer_election_delay_ms", integer),
    "leader.maxConcurrentSnapSyncs": ("snapshot_syncs_max", integer),
    "leader.maxConcurrentDiffSyncs": ("diff_syncs_max", integer),
    "forceSnapshotSync": ("force_snapshot_sync", truth),
}
"""Key → setting and how its value is read."""

LIMITS: Final[Mapping[str, str]] = {
    "jute.maxbuffer": "client_frame_bytes_max",
    "globalOutstandingLimit": "client_requests_inflight_max",
    "nio.sessionlessCnxnTimeout": "client_sessionless_ms",
    "maxClientCnxns": "connections_per_ip_max",
    "maxCnxns": "connections_max",
    "netty.server.outstandingHandshake.limit": "tls_handshakes_max",
    "observerMaster.sizeLimit": "observer_master_bytes_max",
    "commitLogCount": "committed_log_txns_max",
    "snapCount": "snap_count",
    "autopurge.snapRetainCount": "snapshots_kept",
}
"""Key → limit; all are whole numbers."""

THROTTLES: Final[Mapping[str, tuple[str, Callable[[Entry], object]]]] = {
    "connection_throttle_tokens": ("connect_tokens", integer),
    "connection_throttle_fill_time": ("connect_fill_time_ms", integer),
    "connection_throttle_fill_count": ("connect_fill_count", integer),
    "connection_throttle_freeze_time": ("connect_freeze_time_ms", integer),
    "connection_throttle_drop_increase": ("connect_drop_increase", _number),
    "connection_throttle_drop_decrease": ("connect_drop_decrease", _number),
    "connection_throttle_decrease_ratio": ("connect_decrease_ratio", _number),
    "connection_throttle_weight_enabled": ("connect_weights", truth),
    "connection_throttle_global_session_weight": ("connect_weight_global", integer),
    "connection_throttle_renew_session_weight": ("connect_weight_renew", integer),
    "connection_throttle_local_session_weight": ("connect_weight_local", integer),
    "request_throttle_max_requests": ("request_max", integer),
    "request_throttle_stall_time": ("request_stall_time_ms", integer),
    "request_throttle_drop_stale": ("request_drop_stale", truth),
    "request_stale_connection_check": ("request_stale_connection_check", truth),
    "request_stale_latency_check": ("request_stale_latency_check", truth),
    "throttled_op_wait_time": ("throttled_op_wait_time_ms", integer),
    "largeRequestThreshold": ("large_request_bytes_min", integer),
    "largeRequestMaxBytes": ("large_requests_bytes_max", integer),
}
"""Key → throttle and how its value is read."""

PROTECTIONS: Final = frozenset(
    ("sslQuorum", "quorum.auth.enableSasl", "quorum.auth.serverRequireSasl", "quorum.auth.learnerRequireSasl")
    + ("sasl.requireKerberosConfig", "ssl.ocsp", "ssl.context.supplier.class")
)
"""Keys that ask for a protection that is not offered, unless their value is ``false`` or empty."""
