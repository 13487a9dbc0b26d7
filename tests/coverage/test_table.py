"""The table of ``ops/coverage``, and the reasons in it."""

import json
from pathlib import Path

import pytest

from tests.coverage import table

MODULE = "trioquorum/zab/mesh.py"


def measured(folder: Path, *, branches: int, missing: list[tuple[int, int]]) -> str:
    """What ``coverage json`` writes of one module."""
    summary = {
        "num_branches": branches,
        "covered_branches": branches - len(missing),
        "num_statements": 20,
        "covered_lines": 20,
    }
    file = folder / "branches.json"
    file.write_text(json.dumps({"files": {MODULE: {"summary": summary, "missing_branches": missing}}}))
    return str(file)


def test_a_branch_is_shown_by_its_line_and_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (table.ROOT / MODULE).read_text().splitlines()
    number = next(number for number, line in enumerate(text, 1) if line.startswith("    if "))
    reasons = tmp_path / "reasons.toml"
    entry = f"[[untaken]]\nmodule = {json.dumps(MODULE)}\nline = {json.dumps(text[number - 1].strip())}\n"
    reasons.write_text(entry + 'why = "nobody goes there"\n' + entry.replace("if ", "while ") + 'why = "old"\n')
    monkeypatch.setattr(table, "REASONS", reasons)
    assert table.main(measured(tmp_path, branches=100, missing=[(number, number + 1), (number + 1, -1)])) == 0
    shown = capsys.readouterr().out
    assert f"{number} to {number + 1}: {text[number - 1].strip()}\n        nobody goes there" in shown
    assert "leaves: " in shown
    assert "no reason is given" in shown
    assert f"no longer needed, taken now or gone: {MODULE}: while " in shown


@pytest.mark.parametrize(("missing", "code"), [(3, 0), (4, 1)])
def test_it_fails_below_what_is_wanted(missing: int, code: int, tmp_path: Path) -> None:
    assert table.main(measured(tmp_path, branches=100, missing=[(1, 2)] * missing)) == code


def test_reasons_are_about_lines_that_exist() -> None:
    gone = [
        reason.line
        for reason in table.listed()
        if reason.line not in map(str.strip, (table.ROOT / reason.module).read_text().splitlines())
    ]
    assert gone == []
