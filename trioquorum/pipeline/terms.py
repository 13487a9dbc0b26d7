"""What a service grants its clients."""

from collections.abc import Callable

import msgspec

from trioquorum.limits import Limits, Throttles
from trioquorum.pipeline.audit import Audit
from trioquorum.pipeline.auth import Authentication
from trioquorum.tree.cleanup import UNUSED_CONTAINER_MS


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a service grants its clients, and the clocks it reads."""

    server_id: int
    tick_time_ms: int
    session_timeout_ms_min: int
    session_timeout_ms_max: int
    limits: Limits
    throttles: Throttles = Throttles()
    clock: Callable[[], float]
    wall_ms: Callable[[], int]
    auth: Authentication
    audit: Audit | None = None
    local_sessions: bool = False
    local_sessions_upgrading: bool = False
    reconfig_enabled: bool = False
    voters_min: int = 1
    extended_types: bool = False
    enforces_quotas: bool = False
    checks_acls_early: bool = False
    unused_container_ms: int = UNUSED_CONTAINER_MS
