"""No recording lies about unused: each is named, or all of its folder are taken, by the tests beside that folder."""

import re
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
FOLDERS: Final = sorted(path for name in ("recorded", "vectors", "ensembles") for path in TESTS.rglob(name))
BETWEEN: Final = re.compile(r"^client-|^quorum-|-\d\d-")
"""What a loader puts in front of a name, or between a role and a word."""


def unused(folder: Path, source: str) -> list[str]:
    """Recordings of ``folder`` that the code in ``source`` does not name."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    return [
        file.name
        for file in files
        if f'"{file.name}"' not in source and f'glob("*{"".join(file.suffixes)}")' not in source
        if not all(f'"{part}"' in source for part in BETWEEN.split(file.name.partition(".")[0]) if part)
    ]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(TESTS)))
def test_every_recording_is_replayed(folder: Path) -> None:
    package = TESTS / folder.relative_to(TESTS).parts[0]
    assert any(folder.iterdir())
    assert unused(folder, "".join(file.read_text() for file in sorted(package.glob("*.py")))) == []


def test_a_recording_that_nothing_names_is_found(tmp_path: Path) -> None:
    for name in ("client-create.txt", "leader-03-stat.txt", "leader-04-cons.txt", "all.jsonl.gz"):
        (tmp_path / name).touch()
    source = 'names = ("create", "leader", "stat"); files = folder.glob("*.jsonl.gz")'
    assert unused(tmp_path, source) == ["leader-04-cons.txt"]
