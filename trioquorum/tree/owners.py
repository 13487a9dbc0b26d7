"""What the stored owner of a node says: nobody, a session, a container or a time to live (client-protocol §14)."""

from trioquorum.wire.ops import CONTAINER_OWNER, TTL_MS_MAX, TTL_OWNER_MASK


def ttl_owner(ttl_ms: int) -> int:
    """The stored owner of a TTL node."""
    return TTL_OWNER_MASK | ttl_ms


def is_ttl(owner: int) -> bool:
    """Whether a stored owner is a TTL and not a session: top byte ff, the next two bytes zero."""
    return owner & ~TTL_MS_MAX == TTL_OWNER_MASK


def ttl_ms_of(owner: int) -> int:
    """The time to live in the owner of a TTL node."""
    return owner & TTL_MS_MAX


def session_of(owner: int) -> int:
    """The session in a stored owner, which is also what clients see; 0 for containers, TTL and plain nodes."""
    return 0 if owner == CONTAINER_OWNER or is_ttl(owner) else owner
