"""Every bound of the server in one place; defaults are ZooKeeper's unless a comment says otherwise."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Named bounds. Sizes are bytes, times are milliseconds."""

    client_frame_bytes_max: int = 0xFFFFF  # jute.maxbuffer
    client_outbox_bytes_max: int = 8 << 20  # replies a slow reader may leave unread before reading from it stops
    client_outbox_bytes_cut: int = 64 << 20  # beyond this the slow reader is disconnected
    client_requests_inflight_max: int = 1000  # globalOutstandingLimit: above it a connection is not read
    client_sessionless_ms: int = 10_000  # a connection without a session is closed after this
    connections_per_ip_max: int = 60  # maxClientCnxns, 0 = unlimited
    connections_max: int = 0  # maxCnxns, 0 = unlimited
    tls_handshakes_max: int = 256  # netty.server.outstandingHandshake.limit: clients at once that have not finished one

    peer_frame_bytes_max: int = 16 << 20  # one frame on a quorum or election link
    election_frame_bytes_max: int = 512 << 10
    election_inbox_max: int = 100  # notifications waiting for the election; the oldest gives way
    election_guests_max: int = 16  # callers that no configuration lists, heard because they may want to join
    handshake_links_max: int = 256  # accepted peer links that have not said who they are
    handshake_timeout_ms: int = 5000
    redial_ms_min: int = 50  # pause after a first dial of an election link that failed; doubles up to redial_ms_max
    redial_ms_max: int = 1000
    learner_queue_packets_max: int = 100_000  # packets queued for one learner before it is dropped
    learner_queue_bytes_max: int = 256 << 20
    observer_master_bytes_max: int = 32 << 20  # observerMaster.sizeLimit: commits kept for observers that catch up
    snapshot_chunk_bytes: int = 256 << 10

    epoch_txns_max: int = 0xFFFFFFFE  # then a leader begins a new epoch: the counter is half of a zxid (ZOOKEEPER-1277)
    committed_log_txns_max: int = 500  # commitLogCount
    log_batch_bytes_max: int = 8 << 20  # one append of the log writer
    log_queue_bytes_max: int = 64 << 20  # waiting for the log writer; beyond it ``wait_room`` waits
    snap_count: int = 100_000  # snapCount
    snapshots_kept: int = 3  # autopurge.snapRetainCount


class Throttles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What slows clients down where an operator asks for it: ``[throttles]`` of ``peers.toml``. All is off by default.

    ``connect_`` is ZooKeeper's ``connection_throttle_``, ``request_`` its ``request_throttle_``.
    """

    connect_tokens: int = 0  # sessions that may be asked for at once; 0 = off
    connect_fill_time_ms: int = 1
    connect_fill_count: int = 1  # so many more in every connect_fill_time_ms
    connect_freeze_time_ms: int = -1  # the drop share is adjusted this often; -1 = nobody is dropped by chance
    connect_drop_increase: float = 0.02
    connect_drop_decrease: float = 0.002
    connect_decrease_ratio: float = 0.0  # of the tokens: the share shrinks while no more are missing
    connect_weights: bool = False  # connection_throttle_weight_enabled: kinds of sessions cost differently
    connect_weight_global: int = 3
    connect_weight_renew: int = 2
    connect_weight_local: int = 1

    request_max: int = 0  # requests under way, beyond which further ones wait in front of the pipeline; 0 = off
    request_stall_time_ms: int = 100  # how often those that wait are looked at, whatever happens
    request_drop_stale: bool = True  # of those that wait, drop who is stale, and the connection with it
    request_stale_connection_check: bool = True  # stale: the connection is gone
    request_stale_latency_check: bool = False  # stale: waiting longer than the session's timeout
    throttled_op_wait_time_ms: int = 0  # who waited longer is answered THROTTLEDOP; 0 = off
    large_request_bytes_min: int = -1  # largeRequestThreshold: requests above it are large; -1 = off
    large_requests_bytes_max: int = 100 << 20  # largeRequestMaxBytes: of all large requests under way; else refused
