"""A new ensemble from a backup: every peer's data directory gets the snapshot and the epochs that go with it.

Sessions are kept. They are part of the tree: a client that comes back with its id and password goes on with its
ephemerals, and a leader gives every session its whole timeout when it begins, so those whose clients do not come back
expire, and their ephemerals go with them in transactions that every peer sees. To drop sessions here would change the
tree without a transaction, or leave ephemerals that nobody ever removes.

Whoever was a client of the old ensemble and has seen more than the backup holds is refused by peers that are behind
it. The new ensemble begins with a higher epoch, which is above all of the backup's epoch; if the old one has had
leaders since, ``epoch`` says above which epoch to begin.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from trioquorum.backup import archive
from trioquorum.backup.archive import Manifest
from trioquorum.errors import ConfigError, CorruptSnapshot
from trioquorum.offline.folder import DATA_FOLDER
from trioquorum.offline.snapshots import load
from trioquorum.storage.epochs import ACCEPTED, CURRENT
from trioquorum.storage.names import SNAPSHOT, file_name
from trioquorum.tree.nodes import DataTree
from trioquorum.zab.handshake import EPOCH_MAX

MY_ID: Final = "myid"
BESIDE: Final = frozenset((MY_ID,))
"""What may lie in a data directory that is to be filled."""


def restore(
    backup: Path,
    data_dirs: Sequence[Path],
    log_dirs: Sequence[Path] = (),
    epoch: int = 0,
    done: Callable[[int], object] = lambda _: None,
) -> Manifest:
    """Fill the empty ``data_dirs``, one for each peer of a new ensemble; what was written is read back and compared.

    ``log_dirs`` are the directories of logs, where peers have such: they must be empty, for a log that lies there
    would be replayed. ``done`` is told of bytes that were read.

    Raises:
        ConfigError: ``epoch`` cannot be.
        StorageError: a directory is not empty, or there is no backup. Nothing was written.
        CorruptSnapshot: the backup is damaged, or what was written is not what is read.
        OSError: it cannot be written.
    """
    for folder in (*data_dirs, *log_dirs):
        archive.require_empty(folder, BESIDE)
    manifest, tree = archive.read(backup, done)
    current = max(manifest.epoch, tree.last_zxid >> 32)
    if epoch and not current <= epoch <= EPOCH_MAX:
        raise ConfigError(f"--epoch {epoch}: choose {current} to {EPOCH_MAX}")
    # The members of the old ensemble are none of the new one's, which writes its own there.
    tree.set_config(b"", 0, 0)
    for data_dir in data_dirs:
        _fill(data_dir, tree, accepted=max(epoch, current), current=current)
        _compare(data_dir / DATA_FOLDER / file_name(SNAPSHOT, tree.last_zxid), tree, done)
    return manifest


def _fill(data_dir: Path, tree: DataTree, *, accepted: int, current: int) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    with archive.put_in_place(data_dir / DATA_FOLDER) as partial:
        archive.write_snapshot(partial / file_name(SNAPSHOT, tree.last_zxid), tree)
        archive.write_durably(partial / ACCEPTED, b"%d" % accepted)
        archive.write_durably(partial / CURRENT, b"%d" % current)


def _compare(file: Path, tree: DataTree, done: Callable[[int], object]) -> None:
    written = load(file, done)
    if (written.digest, written.sessions) != (tree.digest, tree.sessions):
        raise CorruptSnapshot(f"{file}: its digest is {written.digest:#x}, but {tree.digest:#x} was written")
