"""A ZooKeeper client for Trio and asyncio, on anyio.

``async with connect_tcp("127.0.0.1:2181") as client: await client.create("/a", b"1")``
"""

from trioquorum.client.client import Client, connect, connect_tcp
from trioquorum.client.core import State
from trioquorum.client.session import Dial, Observer
from trioquorum.client.transaction import OPEN_ACL, Result, Transaction
from trioquorum.client.watches import Watcher, WatchEvent

__all__ = [
    "OPEN_ACL",
    "Client",
    "Dial",
    "Observer",
    "Result",
    "State",
    "Transaction",
    "WatchEvent",
    "Watcher",
    "connect",
    "connect_tcp",
]
