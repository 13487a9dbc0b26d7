"""Trees to compare with copies of them: made from the logs alone, transaction by transaction."""

from collections.abc import Mapping
from typing import Any

from tests.storage.kit import content
from trioquorum.storage.log_reader import FileReader
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.storage.names import LOG, sorted_by_zxid
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import CONFIG
from trioquorum.wire.txn import decode_txn


async def replayed(files: Mapping[str, bytes | bytearray], zxid: int) -> DataTree:
    """The tree behind ``zxid``, from nothing but the logs among ``files``, which must begin with the first one."""
    disk = MemoryDisk({name: bytes(data) for name, data in files.items()})
    tree = DataTree()
    for _, name in sorted_by_zxid(files, LOG):
        reader = FileReader(disk, name)
        while batch := await reader.next_batch():
            for found, payload in batch:
                if found <= zxid:
                    tree.apply(decode_txn(payload))
    return tree


def told(tree: DataTree) -> dict[str, Any]:
    """Everything about a tree but the configuration, which is in no log unless a client changed it."""
    found = content(tree)
    for nodes in (found["nodes"], found["stored"]):
        nodes.pop(CONFIG, None)
    return found
