"""Quotas (client-protocol §15): how many nodes and bytes a subtree has, and how many it may have.

A quota on ``/a`` is the node ``/zookeeper/quota/a/zookeeper_limits``. What there is under ``/a``, itself included,
stands in ``zookeeper_stats`` beside it: each peer keeps that by itself, outside any transaction, and counts anew when
it loads a snapshot. Of several quotas above a node only the nearest counts it. There is none on the root.
"""

import re
from collections.abc import Mapping
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from trioquorum.tree.node import data_length
from trioquorum.tree.paths import QUOTA, ROOT, parent_of
from trioquorum.wire.fields import encode_buffer

if TYPE_CHECKING:
    from trioquorum.tree.node import Node
    from trioquorum.tree.nodes import DataTree

LIMITS = "zookeeper_limits"
STATS = "zookeeper_stats"
QUOTA_NODES = frozenset((LIMITS, STATS))

COUNT, COUNT_HARD = "count", "countHardLimit"
BYTES, BYTES_HARD = "bytes", "byteHardLimit"
NO_LIMIT = -1

_BELOW = f"{QUOTA}/"
_PAIRS = re.compile("[,;]+")
_LONG = re.compile("[+-]?[0-9]{1,19}", re.ASCII)
_INT = Struct(">i")


class Excess(NamedTuple):
    """A write goes beyond a quota. ``kind`` is count or bytes, ``found`` what it would come to."""

    path: str
    kind: str
    hard: bool
    limit: int
    found: int


def parse(data: bytes | None) -> dict[str, int]:
    """The numbers in the text of limits or stats; whatever is no number is −1, as what is missing."""
    found = {}
    for pair in _PAIRS.split((data or b"").decode("utf-8", "replace")):
        key, *values = pair.split("=")
        if key:
            value = values[0] if values else ""
            found[key] = int(value) if _LONG.fullmatch(value) else NO_LIMIT
    return found


def render(numbers: Mapping[str, int]) -> bytes:
    """The text of these numbers, as ZooKeeper writes it: behind the extra ``=`` stands what its old versions ignore."""
    text = f"{COUNT}={numbers.get(COUNT, NO_LIMIT)},{BYTES}={numbers.get(BYTES, NO_LIMIT)}"
    more = sorted(numbers.keys() - {COUNT, BYTES})
    if more:
        text += "=" + "".join(f";{key}={numbers[key]}" for key in more)
    return text.encode()


def nearest(tree: "DataTree", path: str) -> str | None:
    """The path with a quota that counts ``path``: itself or the closest one above it."""
    while path != ROOT:
        if path in tree.quotas:
            return path
        path = parent_of(path)
    return None


# What the tree tells


def created(tree: "DataTree", path: str, size: int) -> None:
    """There is a new node with so many bytes."""
    name = path[path.rfind("/") + 1 :]
    if name in QUOTA_NODES and (subject := _subject(path)):
        if name == LIMITS:
            tree.quotas.add(subject)
        else:
            _recount(tree, subject)
    _adjust(tree, path, 1, size)


def removed(tree: "DataTree", path: str, size: int) -> None:
    """A node with so many bytes is gone."""
    if path.endswith(f"/{LIMITS}"):
        tree.quotas.discard(_subject(path))
    _adjust(tree, path, -1, -size)


def resized(tree: "DataTree", path: str, more: int) -> None:
    """A node has so many bytes more."""
    _adjust(tree, path, 0, more)


def load(tree: "DataTree") -> None:
    """Find the quotas of a whole tree, and count."""
    tree.quotas.clear()
    below = [QUOTA]
    while below:
        path = below.pop()
        children = tree.nodes[path].children
        if children:
            below.extend(children)
        elif path.endswith(f"/{LIMITS}") and (subject := _subject(path)):
            tree.quotas.add(subject)
    for subject in tree.quotas:
        _recount(tree, subject)


def _subject(path: str) -> str:
    """The path whose quota this node is part of; empty if it is none."""
    parent = path[: path.rfind("/")]
    return parent[len(QUOTA) :] if parent.startswith(_BELOW) else ""


def _adjust(tree: "DataTree", path: str, nodes: int, size: int) -> None:
    subject = nearest(tree, path)
    stats = None if subject is None else tree.nodes.get(f"{QUOTA}{subject}/{STATS}")
    # Limits are made first; by the time there are stats all is counted anew.
    if stats is not None:
        numbers = parse(stats.data)
        numbers[COUNT] = numbers.get(COUNT, NO_LIMIT) + nodes
        numbers[BYTES] = numbers.get(BYTES, NO_LIMIT) + size
        _rewrite(stats, numbers)


def _recount(tree: "DataTree", subject: str) -> None:
    stats = tree.nodes.get(f"{QUOTA}{subject}/{STATS}")
    if stats is None:
        return
    nodes = size = 0
    below = [subject] if subject in tree.nodes else []
    while below:
        path = below.pop()
        node = tree.nodes[path]
        nodes += 1
        size += data_length(node)
        below.extend(node.children or ())
    _rewrite(stats, {COUNT: nodes, BYTES: size})


def _rewrite(stats: "Node", numbers: Mapping[str, int]) -> None:
    """No transaction did this: only the length in the stat follows."""
    text = render(numbers)
    stat = stats.stat
    stats.record = encode_buffer(text) + stat[:52] + _INT.pack(len(text)) + stat[56:]


# What the leader asks before a write


def excesses(tree: "DataTree", path: str, nodes: int, size: int) -> list[Excess]:
    """Which limits so many nodes and bytes more at ``path`` would exceed.

    A hard limit takes the place of a soft one. As in ZooKeeper, only what is applied counts: writes that are under way
    together may go beyond a limit together.
    """
    subject = nearest(tree, path)
    limits_at, stats_at = f"{QUOTA}{subject}/{LIMITS}", f"{QUOTA}{subject}/{STATS}"
    if subject is None or limits_at not in tree.nodes or stats_at not in tree.nodes:
        return []
    limits, stats = parse(tree.nodes[limits_at].data), parse(tree.nodes[stats_at].data)
    found = []
    for kind, hard_kind, more in ((COUNT, COUNT_HARD, nodes), (BYTES, BYTES_HARD, size)):
        soft, hard = limits.get(kind, NO_LIMIT), limits.get(hard_kind, NO_LIMIT)
        limit = hard if hard > NO_LIMIT else soft
        would_be = stats.get(kind, NO_LIMIT) + more
        if more and NO_LIMIT < limit < would_be:
            found.append(Excess(subject, kind, hard > NO_LIMIT, limit, would_be))
    return found
