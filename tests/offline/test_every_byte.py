"""``log verify`` and ``snapshot verify`` say of damaged files what a server says that starts from them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from typer.testing import CliRunner

from tests.storage.damage import DIRECTORIES, Directory, Outcome, changed
from trioquorum.cli import app
from trioquorum.errors import CorruptSnapshot
from trioquorum.offline import snapshots
from trioquorum.offline.folder import files_of
from trioquorum.offline.logs import FileReport, verify
from trioquorum.storage.names import LOG, SNAPSHOT, zxid_of

pytestmark = pytest.mark.slow

PLACES = 100

directories = pytest.mark.parametrize("name", DIRECTORIES)


def damaged(data: bytes, places: int) -> Iterator[bytes]:
    """It changed and cut at so many places, spread evenly."""
    every = max(1, len(data) // places)
    yield from (other for _, other in changed(data, every))
    yield from (data[:size] for size in range(0, len(data), every))


def laid_out(directory: Directory, folder: Path) -> None:
    for name, data in directory.files.items():
        (folder / name).write_bytes(data)


def agree(directory: Directory, outcome: Outcome, reports: list[FileReport], name: str) -> None:
    """Verification looks at all logs; a server only at those behind its snapshot, so it may miss an older one's."""
    problems = [report.problem for report in reports if report.problem]
    read = zxid_of(name, LOG) or 0
    newest = max(found for each in directory.files if (found := zxid_of(each, SNAPSHOT)) is not None)
    if outcome.what == "refused":
        assert problems, outcome.message
    elif read > newest or newest == 0:
        assert problems == [], outcome
        assert reports[-1].torn == outcome.torn
        assert max(report.last_zxid for report in reports) in (outcome.last_zxid, 0)
    if outcome.torn:
        assert reports[-1].torn


def problem_of(file: Path) -> str:
    """What ``snapshot verify`` says is wrong; it names the file."""
    try:
        snapshots.load(file)
    except CorruptSnapshot as error:
        return str(error)
    return ""


@directories
async def test_logs(name: str, tmp_path: Path) -> None:
    directory = await DIRECTORIES[name]()
    laid_out(directory, tmp_path)
    for file in directory.fragile:
        if zxid_of(file, LOG) is None:
            continue
        for data in damaged(directory.files[file], PLACES):
            (tmp_path / file).write_bytes(data)
            outcome = await directory.outcome(file, data)
            agree(directory, outcome, await verify(files_of([tmp_path], LOG)), file)
        (tmp_path / file).write_bytes(directory.files[file])


@directories
async def test_snapshots(name: str, tmp_path: Path) -> None:
    directory = await DIRECTORIES[name]()
    newest = max((found, each) for each in directory.files if (found := zxid_of(each, SNAPSHOT)) is not None)[1]
    data = directory.files[newest]
    for each in damaged(data, PLACES):
        (tmp_path / newest).write_bytes(each)
        outcome = await directory.outcome(newest, each)
        assert outcome.skipped == ((newest,) if problem_of(tmp_path / newest) else ())


@pytest.mark.parametrize("kind", [LOG, SNAPSHOT])
def test_the_commands(kind: str, tmp_path: Path) -> None:
    """The exit code is 10 exactly when something is wrong, and what they print then names the file."""
    directory = trio.run(DIRECTORIES["two_snapshots"])
    laid_out(directory, tmp_path)
    runner = CliRunner()
    for file, data in directory.files.items():
        if zxid_of(file, kind) is None:
            continue
        codes = set()
        for each in damaged(data, 15):
            (tmp_path / file).write_bytes(each)
            result = runner.invoke(app, [kind, "verify", str(tmp_path)])
            wrong = [line for line in result.stdout.splitlines() if ": good (" not in line]
            assert result.exit_code == (10 if wrong else 0)
            assert all(file in line for line in wrong)
            codes.add(result.exit_code)
        assert 10 in codes
        (tmp_path / file).write_bytes(data)
