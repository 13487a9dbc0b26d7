"""What a peer's configuration grants its clients, and what it has for all of them."""

import random
from collections.abc import Callable

import trio

from trioquorum.config import ServerConfig
from trioquorum.events import Events
from trioquorum.metrics import Metrics
from trioquorum.peer.members import Members
from trioquorum.pipeline.audit import Audit
from trioquorum.pipeline.auth import Authentication
from trioquorum.pipeline.stats import ServerStats
from trioquorum.pipeline.terms import Terms
from trioquorum.server.admission import Admission
from trioquorum.server.connection_throttle import ConnectionThrottle
from trioquorum.server.four_letter import Answerer
from trioquorum.server.words_server import process_user
from trioquorum.storage.disk import Disk
from trioquorum.storage.room import DiskRoom
from trioquorum.tls import Certificates


def terms_of(config: ServerConfig, wall_ms: Callable[[], int], nonce: Callable[[], str], audit: Audit | None) -> Terms:
    """The terms of every service of this peer; ``wall_ms`` is its clock of the day, ``nonce`` nobody can guess."""
    return Terms(
        server_id=config.my_id,
        tick_time_ms=config.tick_time_ms,
        session_timeout_ms_min=config.min_session_timeout_ms,
        session_timeout_ms_max=config.max_session_timeout_ms,
        limits=config.limits,
        throttles=config.throttles,
        clock=trio.current_time,
        wall_ms=wall_ms,
        audit=audit,
        auth=Authentication(config.auth, nonce, config.super_digest, x509=config.asks_for_certificates),
        # A server alone has nobody to spare the news of a session.
        local_sessions=config.local_sessions and bool(config.peers),
        local_sessions_upgrading=config.local_sessions_upgrading,
        reconfig_enabled=config.reconfig_enabled,
        voters_min=config.voters_min,
        checks_acls_early=config.acls_checked_early and bool(config.peers),
        enforces_quotas=config.quotas_enforced,
        extended_types=config.extended_types_enabled,
        unused_container_ms=config.container_unused_ms_max,
    )


def certificates_of(config: ServerConfig, events: Events) -> Certificates | None:
    """What clients are spoken to by TLS with, if they are.

    Raises:
        ConfigError: a file cannot be used.
    """
    return None if config.tls is None else Certificates(config.tls, events)


def audit_of(config: ServerConfig, events: Events) -> Audit | None:
    """Who is told of every change, if anybody."""
    return Audit(events, process_user()) if config.audit_enabled else None


def answerer_of(
    config: ServerConfig,
    members: Members,
    folders: tuple[Disk, Disk],
    room: DiskRoom,
    stats: ServerStats,
    metrics: Metrics,
    events: Events,
    rng: random.Random,
    wall_ms: Callable[[], int],
) -> Answerer:
    """What a peer has one of for all its client ports."""
    throttle = ConnectionThrottle(config.throttles, rng, int(trio.current_time() * 1000))
    return Answerer(
        admission=Admission(config.limits, stats, events, throttle),
        stats=stats,
        metrics=metrics,
        limits=config.limits,
        events=events,
        config=config,
        membership=lambda: members.committed,
        client_addresses=members.my_client_addresses,
        folders=folders,
        room=room,
        clock=trio.current_time,
        wall_ms=wall_ms,
    )
