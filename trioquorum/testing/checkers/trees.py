"""In the end all peers hold one tree, in memory and on disk, and it is what the committed history makes."""

from collections.abc import Mapping
from typing import Any

from trioquorum.invariants import invariant
from trioquorum.testing.model import OWN_PATHS
from trioquorum.testing.truth import Truth
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import CONFIG
from trioquorum.wire.records import Stat

SHOWN = 3
"""Differences that a message lists."""


def contents(tree: DataTree) -> dict[str, Any]:
    """Everything that transactions replicate; ACL ids are each peer's own.

    The config node is left out: a peer writes it by itself when it comes to serve, so disks may hold an older one.
    """
    nodes = {
        path: (node.data, tree.acls.by_id.get(node.acl), node.stat, node.cversion, node.owner, set(node.children or ()))
        for path, node in tree.nodes.items()
        if path != CONFIG
    }
    return {
        "zxid": tree.last_zxid,
        "digest": tree.digest,
        "nodes": nodes,
        "sessions": tree.sessions,
        "ephemerals": {session: paths for session, paths in tree.ephemerals.items() if paths},
        "containers": tree.containers,
        "ttls": tree.ttls,
    }


def check_equal(trees: Mapping[str, DataTree]) -> None:
    """Trees that have applied the same are the same; ``trees`` by where they are.

    Raises:
        InvariantViolation: two of them differ.
    """
    (place, first), *others = trees.items()
    expected = contents(first)
    for other, tree in others:
        found = contents(tree)
        if found != expected:
            one, two = _difference(expected, found)
            invariant(False, "all peers hold the same", **{place: one, other: two})


def _difference(one: dict[str, Any], two: dict[str, Any]) -> tuple[Any, Any]:
    """The first parts that differ."""
    if one["nodes"] != two["nodes"]:
        paths = sorted(one["nodes"].keys() | two["nodes"].keys())
        differ = [path for path in paths if one["nodes"].get(path) != two["nodes"].get(path)][:SHOWN]
        return tuple({path: part["nodes"].get(path) for path in differ} for part in (one, two))  # type: ignore[return-value]
    key = next(key for key in one if one[key] != two[key])
    return {key: one[key]}, {key: two[key]}


def check_made(truth: Truth) -> None:
    """The tree is what a replay of the history makes.

    Raises:
        InvariantViolation: they differ.
    """
    tree, model = truth.tree, truth.model
    if tree is None:
        return
    there = {path for path in tree.nodes if not path.startswith(OWN_PATHS)}
    made = {path for path in model.nodes if not path.startswith(OWN_PATHS)}
    differ = sorted(there ^ made)
    invariant(
        not differ,
        "the tree has the nodes that were made",
        only_in_tree=[path for path in differ if path in there][:SHOWN],
        only_made=[path for path in differ if path in made][:SHOWN],
    )
    for path in sorted(there):
        node, own = tree.nodes[path], model.nodes[path]
        found, expected = (node.data, Stat.decode(node.stat)), (own.data, own.stat())
        invariant(found == expected, "a node is what its history made", path=path, tree=found, made=expected)
    invariant(
        tree.sessions == model.sessions,
        "the sessions are those that began and did not end",
        tree=sorted(tree.sessions)[:SHOWN],
        made=sorted(model.sessions)[:SHOWN],
    )
