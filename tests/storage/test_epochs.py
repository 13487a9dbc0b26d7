"""The two epoch files and what a start makes of them (quorum-protocol §21)."""

import pytest

from trioquorum.errors import DiskFailed, StorageError
from trioquorum.invariants import InvariantViolation
from trioquorum.storage.epochs import Epochs
from trioquorum.storage.memory_disk import MemoryDisk


async def epochs(last_zxid: int = 0, **files: str) -> tuple[Epochs, dict[str, str]]:
    disk = MemoryDisk({name.replace("_", "."): text.encode() for name, text in files.items()})
    loaded = await Epochs.load(disk, last_zxid)
    return loaded, {name: data.decode() for name, data in disk.files.items()}


@pytest.mark.parametrize(
    ("last_zxid", "files", "accepted", "current"),
    [
        (0, {}, 0, 0),
        (0x300000003, {}, 3, 3),
        (0x300000003, {"acceptedEpoch": "5"}, 5, 3),
        (0x300000003, {"acceptedEpoch": "5\n", "currentEpoch": "4\n"}, 5, 4),
        (0x300000003, {"currentEpoch": "3"}, 3, 3),
        # A crash between the new epoch's history and currentEpoch.
        (0x300000003, {"acceptedEpoch": "3", "currentEpoch": "2"}, 3, 3),
        (0x300000003, {"acceptedEpoch": "4", "currentEpoch": "2"}, 4, 3),
        (0x300000003, {"acceptedEpoch": "4", "currentEpoch": "2", "currentEpoch_tmp": "4"}, 4, 4),
        (0x300000003, {"acceptedEpoch": "4", "currentEpoch": "2", "currentEpoch_tmp": ""}, 4, 3),
        (0x300000003, {"acceptedEpoch": "4", "currentEpoch": "2", "currentEpoch_tmp": "9"}, 4, 3),
        # An unfinished write that nothing depends on.
        (0x300000003, {"acceptedEpoch": "4", "currentEpoch": "3", "currentEpoch_tmp": "4"}, 4, 3),
    ],
)
async def test_start(last_zxid: int, files: dict[str, str], accepted: int, current: int) -> None:
    loaded, written = await epochs(last_zxid, **files)
    assert (loaded.accepted, loaded.current) == (accepted, current)
    assert written["acceptedEpoch"].strip() == str(accepted)
    assert written["currentEpoch"].strip() == str(current)


@pytest.mark.parametrize(
    ("last_zxid", "files", "message"),
    [
        (0x300000003, {"acceptedEpoch": "2", "currentEpoch": "2"}, "the database is of epoch 3"),
        (0x100000003, {"acceptedEpoch": "2", "currentEpoch": "3"}, "acceptedEpoch is 2 but currentEpoch is 3"),
        (0x100000003, {"currentEpoch": "3"}, "acceptedEpoch is 1 but currentEpoch is 3"),
        (0, {"acceptedEpoch": ""}, "acceptedEpoch holds b''"),
        (0, {"acceptedEpoch": "1", "currentEpoch": "-1"}, "currentEpoch holds b'-1'"),
        (0, {"acceptedEpoch": "1_0"}, "acceptedEpoch holds b'1_0'"),
    ],
)
async def test_contradictions_are_refused(last_zxid: int, files: dict[str, str], message: str) -> None:
    with pytest.raises(StorageError, match=message):
        await epochs(last_zxid, **files)


async def test_set_is_durable_before_it_is_believed() -> None:
    class Failing(MemoryDisk):
        fails = False

        async def flush(self, name: str, size: int) -> None:
            if self.fails:
                raise DiskFailed(name)
            await super().flush(name, size)

    disk = Failing()
    loaded = await Epochs.load(disk, 0)
    await loaded.set_accepted(3)
    await loaded.set_current(2)
    again = await Epochs.load(disk, 0)
    assert (again.accepted, again.current) == (3, 2)
    disk.fails = True
    with pytest.raises(DiskFailed):
        await loaded.set_accepted(4)
    with pytest.raises(DiskFailed):
        await loaded.set_current(3)
    assert (loaded.accepted, loaded.current) == (3, 2)
    await loaded.set_accepted(3)  # nothing to write


async def test_epochs_never_decrease_and_current_is_an_accepted_one() -> None:
    loaded, _ = await epochs(acceptedEpoch="4", currentEpoch="3")
    for step in (loaded.set_accepted(3), loaded.set_current(2), loaded.set_current(5)):
        with pytest.raises(InvariantViolation):
            await step
    assert (loaded.accepted, loaded.current) == (4, 3)
