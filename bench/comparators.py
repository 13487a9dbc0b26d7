"""Whom this server can be compared with, where that is installed."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from bench import etcd, java, syncobj
from bench.servers import Servers


class Name(StrEnum):
    """As on the command line."""

    JAVA = "java"
    ETCD = "etcd"
    PYSYNCOBJ = "pysyncobj"


class Comparator(NamedTuple):
    """``why_missing`` says in a line what is not installed."""

    kind: type[Servers]
    why_missing: Callable[[], str | None]
    versions: Callable[[], dict[str, str]]


COMPARATORS: Final = {
    Name.JAVA: Comparator(java.JavaZooKeeper, java.why_missing, java.versions),
    Name.ETCD: Comparator(etcd.Etcd, etcd.why_missing, etcd.versions),
    Name.PYSYNCOBJ: Comparator(syncobj.PySyncObj, syncobj.why_missing, syncobj.versions),
}


def versions(names: Iterable[str]) -> dict[str, str]:
    """Of those contestants that are comparators."""
    found: dict[str, str] = {}
    for comparator in COMPARATORS.values():
        if comparator.kind.name in names:
            found |= comparator.versions()
    return found
