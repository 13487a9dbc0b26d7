"""Taking over a data directory of ZooKeeper: what is in it, whether a server starts from it, and a copy of it.

The formats are the same, so nothing is converted: a server may also be pointed at the directory itself. What an import
adds is to look at every file first, and to leave the original as it is.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import trio

from trioquorum.backup import archive
from trioquorum.backup.archive import Counts, counts_of
from trioquorum.backup.directory import Loaded, inner, load_directory
from trioquorum.backup.restoring import BESIDE, MY_ID
from trioquorum.errors import CorruptSnapshot, StorageError
from trioquorum.events import DatabaseLoaded, DigestMismatch, Event, SnapshotSkipped, TornTailCut
from trioquorum.offline import snapshots
from trioquorum.offline.describe import hexadecimal
from trioquorum.offline.folder import DATA_FOLDER
from trioquorum.offline.logs import FileReport, verify
from trioquorum.storage.epochs import ACCEPTED, CURRENT
from trioquorum.storage.names import LOG, SNAPSHOT, sorted_by_zxid
from trioquorum.tree.nodes import DataTree, NewTree
from trioquorum.tree.paths import CONFIG

COPY_BYTES: Final = 1 << 20
CONFIGS: Final = ("*.cfg", "*.cfg.dynamic*", "*.cfg.bak")
TEXT_BYTES_MAX: Final = 1000

Done = Callable[[int], object]


class SnapshotReport(msgspec.Struct, kw_only=True):
    """What one snapshot file holds. ``problem`` is empty when it is whole."""

    file: str
    bytes: int
    znodes: int = 0
    sessions: int = 0
    problem: str = ""


class Report(msgspec.Struct, kw_only=True):
    """What is in a data directory. A server starts from it when ``refused`` is empty; ``notes`` are to be known then.

    ``first_zxid`` and ``last_zxid`` are those of the logs, ``zxid`` the last one of the tree that ``counts`` is about.
    ``from_snapshot`` and ``replayed`` say how that was loaded. ``lost_ephemerals`` belong to no session, so nobody will
    remove them. Epochs are ``None`` where their file is missing.
    """

    data_dir: str
    log_dir: str
    snapshots: list[SnapshotReport]
    logs: list[FileReport]
    first_zxid: str
    last_zxid: str
    txns: int
    accepted_epoch: str | None
    current_epoch: str | None
    my_id: str | None
    config_files: list[str]
    zxid: str | None = None
    digest: str | None = None
    counts: Counts | None = None
    from_snapshot: str | None = None
    replayed: int = 0
    lost_ephemerals: int = 0
    membership: str = ""
    refused: str = ""
    notes: list[str] = []


def size_of(data_dir: Path, log_dir: Path | None = None) -> int:
    """Bytes that ``inspect`` reads: every snapshot, and every log up to its end."""
    return sum(file.stat().st_size for file in _files(data_dir, log_dir))


def _files(data_dir: Path, log_dir: Path | None) -> list[Path]:
    found = []
    for folder, kind in ((inner(data_dir), SNAPSHOT), (inner(log_dir or data_dir), LOG)):
        if not folder.is_dir():
            raise StorageError(f"{folder}: there is no such directory")
        found += [folder / name for _, name in sorted_by_zxid((file.name for file in folder.iterdir()), kind)]
    return found


async def inspect(
    data_dir: Path, log_dir: Path | None = None, done: Done = lambda _: None, new_tree: NewTree = DataTree
) -> Report:
    """Look at every file of a directory and load it as a server would; nothing is changed.

    ``done`` is told of bytes that were read.

    Raises:
        StorageError: there is nothing to look at.
    """
    files = _files(data_dir, log_dir)
    if not files:
        raise StorageError(f"{inner(data_dir)}: there is neither snapshot nor log in it; name the data directory")
    logs = await verify([file for file in files if file.name.startswith(LOG)], done)
    report = Report(
        data_dir=str(inner(data_dir)),
        log_dir=str(inner(log_dir or data_dir)),
        snapshots=[_snapshot(file, done) for file in files if file.name.startswith(SNAPSHOT)],
        logs=logs,
        first_zxid=hexadecimal(next((each.first_zxid for each in logs if each.records), 0)),
        last_zxid=hexadecimal(max((each.last_zxid for each in logs), default=0)),
        txns=sum(each.records for each in logs),
        accepted_epoch=_text(inner(data_dir) / ACCEPTED),
        current_epoch=_text(inner(data_dir) / CURRENT),
        my_id=_text(data_dir / MY_ID),
        config_files=sorted({str(file) for pattern in CONFIGS for file in data_dir.glob(pattern)}),
    )
    try:
        loaded = await load_directory(data_dir, log_dir, new_tree)
    except StorageError as error:
        report.refused = str(error)
    else:
        _describe(report, loaded)
    return report


def _snapshot(file: Path, done: Done) -> SnapshotReport:
    report = SnapshotReport(file=file.name, bytes=file.stat().st_size)
    try:
        tree = snapshots.load(file, done)
    except CorruptSnapshot as error:
        report.problem = str(error)
    else:
        report.znodes, report.sessions = len(tree.nodes), len(tree.sessions)
    return report


def _text(file: Path) -> str | None:
    return file.read_bytes()[:TEXT_BYTES_MAX].decode(errors="replace").strip() if file.is_file() else None


def _describe(report: Report, loaded: Loaded) -> None:
    tree = loaded.tree
    report.zxid, report.digest, report.counts = hexadecimal(tree.last_zxid), hexadecimal(tree.digest), counts_of(tree)
    report.membership = (tree.nodes[CONFIG].data or b"").decode(errors="replace")
    report.lost_ephemerals = sum(
        len(paths) for session, paths in tree.ephemerals.items() if session not in tree.sessions
    )
    for event in loaded.events:
        if isinstance(event, DatabaseLoaded):
            report.from_snapshot = hexadecimal(event.snapshot_zxid)
            report.replayed = event.log_txns
        elif note := _note(event):
            report.notes.append(note)
    if report.lost_ephemerals:
        report.notes.append(f"{report.lost_ephemerals} ephemerals belong to no session: remove them by hand")
    for name, found, taken in (
        (ACCEPTED, report.accepted_epoch, loaded.accepted),
        (CURRENT, report.current_epoch, loaded.current),
    ):
        if found != str(taken):
            report.notes.append(f"{name} is {found or 'missing'}: a server takes {taken}")


def _note(event: Event) -> str:
    match event:
        case TornTailCut():
            return f"{event.file} ends in half a record of {event.bytes_cut} bytes at {event.offset}: it is cut off"
        case SnapshotSkipped():
            return f"{event.file} cannot be used: {event.reason}; an older one and the log lead there too"
        case DigestMismatch():
            return f"at {event.zxid:#x} the digest is {event.found:#x}, but {event.expected:#x} was recorded there"
    return ""


async def take_over(report: Report, data_dir: Path, target: Path, done: Done = lambda _: None) -> None:
    """Copy what ``report`` is about to the empty ``target``, and load the copy.

    ``data_dir`` is what was inspected. Snapshots, logs and epochs come together in one folder; ``myid`` comes along.

    Raises:
        StorageError: a server would not start from it, or ``target`` is not empty. Nothing was written.
        CorruptSnapshot: the copy is not what was inspected: a server may have gone on writing there.
        OSError: it cannot be written.
    """
    if report.refused:
        raise StorageError(report.refused)
    archive.require_empty(target, BESIDE)
    sources = _files(Path(report.data_dir), Path(report.log_dir))
    sources += [file for name in (ACCEPTED, CURRENT) if (file := Path(report.data_dir) / name).is_file()]
    target.mkdir(parents=True, exist_ok=True)
    with archive.put_in_place(target / DATA_FOLDER) as partial:
        for file in sources:
            _copy(file, partial / file.name, done)
        loaded = await load_directory(partial)
        if (hexadecimal(loaded.zxid), hexadecimal(loaded.tree.digest)) != (report.zxid, report.digest):
            raise CorruptSnapshot(
                f"the copy ends at {loaded.zxid:#x} with digest {loaded.tree.digest:#x}, but {report.data_dir} had "
                f"{report.zxid} with {report.digest}; stop the server that writes there"
            )
    if report.my_id is not None and not (target / MY_ID).exists():
        shutil.copyfile(data_dir / MY_ID, target / MY_ID)
    await trio.lowlevel.checkpoint()


def _copy(source: Path, target: Path, done: Done) -> None:
    """Copy a file durably; the zeros that were preallocated take no room."""
    with source.open("rb") as opened, target.open("xb") as made:
        while chunk := opened.read(COPY_BYTES):
            done(len(chunk))
            if chunk.count(0) == len(chunk):
                made.seek(len(chunk), os.SEEK_CUR)
            else:
                made.write(chunk)
        made.truncate()
        made.flush()
        os.fsync(made.fileno())
