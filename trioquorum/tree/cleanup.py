"""Containers and TTL nodes that the leader may delete (client-protocol §14)."""

from trioquorum.tree.nodes import DataTree, mtime_of
from trioquorum.tree.owners import ttl_ms_of

UNUSED_CONTAINER_MS = 300_000
"""A container that never had a child stays this long (``znode.container.maxNeverUsedIntervalMs``)."""


def expendable(tree: DataTree, now_ms: int, unused_container_ms: int = UNUSED_CONTAINER_MS) -> list[str]:
    """Paths to delete now, sorted; ``now_ms`` is wall-clock time.

    Containers whose last child went, or that never had one for ``unused_container_ms`` (0: forever), and childless TTL
    nodes that were not written for their time.
    """
    found = []
    for path in tree.containers:
        node = tree.nodes[path]
        idle_ms = now_ms - mtime_of(node)
        if not node.children and (node.cversion > 0 or 0 < unused_container_ms < idle_ms):
            found.append(path)
    for path in tree.ttls:
        node = tree.nodes[path]
        if not node.children and now_ms - mtime_of(node) > ttl_ms_of(node.owner):
            found.append(path)
    return sorted(found)
