"""Containers and TTL nodes that the leader may delete (client-protocol §14)."""

from collections.abc import Iterator

from trioquorum.tree.node import mtime_of
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.owners import ttl_ms_of
from trioquorum.wire.ops import CONTAINER_OWNER

UNUSED_CONTAINER_MS = 300_000
"""A container that never had a child stays this long (``znode.container.maxNeverUsedIntervalMs``)."""


def candidates(tree: DataTree, *, ttl: bool = True) -> Iterator[str]:
    """Paths of all containers and, with ``ttl``, TTL nodes; the tree may change while they are looked at."""
    yield from list(tree.containers)
    if ttl:
        yield from list(tree.ttls)


def is_expendable(tree: DataTree, path: str, now_ms: int, unused_container_ms: int = UNUSED_CONTAINER_MS) -> bool:
    """Whether a container or TTL node may go now; ``now_ms`` is wall-clock time.

    A container may whose last child went, or that never had one for ``unused_container_ms`` (0: forever); a TTL node
    that has no children and was not written for its time.
    """
    node = tree.nodes.get(path)
    if node is None or node.children:
        return False
    idle_ms = now_ms - mtime_of(node)
    if node.owner == CONTAINER_OWNER:
        return node.cversion > 0 or 0 < unused_container_ms < idle_ms
    # Java's TTL of 0, which only the format of 3.5.3 has room for, means that there is none.
    return tree.owners.is_ttl(node.owner) and 0 < ttl_ms_of(node.owner) < idle_ms
