"""What the stored owner of a node says: nobody, a session, a container or a time to live (client-protocol §14)."""

from trioquorum.wire.ops import CONTAINER_OWNER, TTL_MS_MAX, TTL_OWNER_MASK


def ttl_owner(ttl_ms: int) -> int:
    """The stored owner of a TTL node."""
    return TTL_OWNER_MASK | ttl_ms


def ttl_ms_of(owner: int) -> int:
    """The time to live in the owner of a TTL node."""
    return owner & TTL_MS_MAX


def is_ttl(owner: int) -> bool:
    """Whether a stored owner is a TTL and not a session: top byte ff, the next two bytes zero."""
    return owner & ~TTL_MS_MAX == TTL_OWNER_MASK


def is_old_ttl(owner: int) -> bool:
    """The same, if the node may be from ZooKeeper 3.5.3: whatever is negative and no container."""
    return owner < 0 and owner != CONTAINER_OWNER


class Owners:
    """How the owners of one tree are read; ``emulates_353``: as ZooKeeper 3.5.3 wrote them."""

    __slots__ = ("is_ttl",)

    def __init__(self, *, emulates_353: bool = False) -> None:
        self.is_ttl = is_old_ttl if emulates_353 else is_ttl

    def session_of(self, owner: int) -> int:
        """The session in a stored owner, which is also what clients see; 0 for containers, TTL and plain nodes."""
        return 0 if owner == CONTAINER_OWNER or self.is_ttl(owner) else owner
