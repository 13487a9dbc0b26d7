"""What all peers of an ensemble share: the ``[ensemble]`` table of ``peers.toml``."""

from typing import Final, Literal

import msgspec

FOUR_LETTER_WORDS: Final = frozenset(
    ("conf", "cons", "crst", "dirs", "dump", "envi", "gtmk", "hash", "isro", "mntr")
    + ("ruok", "srst", "srvr", "stat", "stmk", "wchc", "wchp", "wchs")
)
"""Every four-letter word of ZooKeeper (config §5)."""

MAY_BE_ZERO: Final = frozenset(
    (
        "my_id",
        "config_version",
        "snapshot_log_bytes",
        "slow_flush_ms",
        "disk_reserve_bytes",
        "learner_connect_retry_ms",
        "learner_connect_limit_ticks",
    )
    + ("observer_reconnect_delay_ms",)
    + ("connections_per_ip_max", "connections_max", "observer_election_delay_ms")
    + ("snapshot_syncs_max", "diff_syncs_max", "container_unused_ms_max")
)
"""Settings and limits that may be 0."""

MAY_BE_OFF: Final = frozenset(("leader_max_wait_for_epoch_ms", "client_listen_backlog", "tls_handshakes_max"))
"""Where -1 means that there is no such bound."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all peers of an ensemble share: the ``[ensemble]`` table of ``peers.toml``.

    Session timeout bounds of 0 mean 2 and 20 ticks; ``learner_connect_limit_ticks`` 0 means ``init_limit_ticks``.
    """

    tick_time_ms: int = 2000
    init_limit_ticks: int = 10
    sync_limit_ticks: int = 5
    min_session_timeout_ms: int = 0
    max_session_timeout_ms: int = 0

    four_letter_words: frozenset[str] = FOUR_LETTER_WORDS
    leader_serves: bool = True
    quorum_listen_on_all_ips: bool = False  # quorumListenOnAllIPs: at the quorum and election ports, on every address
    local_sessions: bool = False  # localSessionsEnabled: new sessions are known to the client's peer only
    local_sessions_upgrading: bool = False  # localSessionsUpgradingEnabled: the first ephemeral makes it everybody's
    client_listen_backlog: int = -1  # clientPortListenBacklog, -1: as many as the server accepts in a moment
    client_keep_alive: bool = False  # clientTcpKeepAlive: the kernel asks clients that are silent for hours
    read_only_enabled: bool = False  # readonlymode.enabled: without a leader, reads for clients that ask for no more
    force_sync: bool = True
    slow_flush_ms: int = 1000  # fsync.warningthresholdms
    log_preallocate_bytes: int = 64 << 20
    disk_reserve_bytes: int = 128 << 20  # less than this free: no writes are taken; 0: until nothing is free
    snapshot_log_bytes: int = (
        4 << 30
    )  # snapSizeLimitInKb: after so much log a snapshot is due; 0: only snap_count counts
    snapshot_size_factor: float = 0.33
    snapshot_compression: Literal["", "gz", "snappy"] = ""  # snapshot.compression.method; snappy is an extra to install
    tree_digests: bool = True  # digest.enabled: transactions and snapshots say what the tree behind them comes to
    trust_empty_data: bool = True  # db.autocreate; without it a new voter needs the file initialize in its log folder
    trust_missing_snapshot: bool = False  # snapshot.trust.empty: a log without any snapshot is the whole history
    purge_enabled: bool = True  # old snapshots and logs are removed; zoo.cfg says so by autopurge.purgeInterval

    super_digest: str = ""  # user:BASE64(SHA1("user:password")) of who may do everything; empty: nobody
    acls_checked_early: bool = False  # enableEagerACLCheck: a peer refuses what its own tree forbids, unasked
    quotas_enforced: bool = False  # enforceQuota: hard limits are kept; the operator is told of every excess anyway
    audit_enabled: bool = False  # audit.enable: who changed what is an event of its own
    extended_types_enabled: bool = False  # znodes with a time to live
    emulate_353_ttl_nodes: bool = False  # a snapshot has TTL znodes as ZooKeeper 3.5.3 wrote them
    container_check_interval_ms: int = 60_000  # znode.container.checkIntervalMs
    container_deletions_per_minute_max: int = 10_000  # znode.container.maxPerMinute
    container_unused_ms_max: int = 300_000  # znode.container.maxNeverUsedIntervalMs; 0: it may wait for ever

    reconfig_enabled: bool = False
    voters_min: int = 1  # a reconfiguration leaves at least so many; 2 where one alone would be a standalone server

    election_settle_ms: int = 200
    election_resend_ms_min: int = 200
    election_resend_ms_max: int = 60_000
    connect_timeout_ms: int = 5000
    learner_connect_tries: int = 5
    learner_connect_retry_ms: int = 100
    learner_connect_limit_ticks: int = 0  # connectToLearnerMasterLimit
    observer_reconnect_delay_ms: int = 0  # observer.reconnectDelayMs: pause at random up to it when no master answered
    leader_max_wait_for_epoch_ms: int = -1  # leader.maxTimeToWaitForEpoch, -1: voters may look as long as they like
    oracle_path: str = ""  # oraclePath: who of two voters may lead alone; empty: nobody
    observer_election_delay_ms: int = 200  # observer.election.DelayMs
    snapshot_syncs_max: int = 10  # leader.maxConcurrentSnapSyncs; beyond it observers are sent away
    diff_syncs_max: int = 100  # leader.maxConcurrentDiffSyncs
    force_snapshot_sync: bool = False  # forceSnapshotSync
