"""What a peer's configuration grants its clients."""

from collections.abc import Callable

import trio

from trioquorum.config import ServerConfig
from trioquorum.pipeline.auth import Authentication
from trioquorum.pipeline.terms import Terms


def terms_of(config: ServerConfig, wall_ms: Callable[[], int], nonce: Callable[[], str]) -> Terms:
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
        auth=Authentication(config.auth, nonce, config.super_digest),
        # A server alone has nobody to spare the news of a session.
        local_sessions=config.local_sessions and bool(config.peers),
        local_sessions_upgrading=config.local_sessions_upgrading,
        reconfig_enabled=config.reconfig_enabled,
        voters_min=config.voters_min,
        enforces_quotas=config.quotas_enforced,
        extended_types=config.extended_types_enabled,
        unused_container_ms=config.container_unused_ms_max,
    )
