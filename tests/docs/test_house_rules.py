"""The rules of the house that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ["trioquorum", "transports"]
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

_TEXT = (".py", ".md", "")


def modules(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_a_module_is_one_thing() -> None:
    sizes = {name(file): len(file.read_text().splitlines()) for file in modules(*PACKAGES)}
    assert len(sizes) > 10
    assert {file: size for file, size in sizes.items() if size > MODULE_LINES_MAX} == {}


def test_a_function_fits_on_a_screen() -> None:
    long: list[str] = []
    for file in modules(*PACKAGES):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{name(file)}:{node.lineno} {node.name}, {lines} lines")
    assert long == []


def test_nothing_is_left_for_later() -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError\b")
    assert [name(file) for file in modules(*PACKAGES, "bench") if mark.search(file.read_text())] == []


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "ops", "bench"])
def test_no_machine_is_named(folder: str) -> None:
    """A path of somebody's home or checkout works there only."""
    files = [file for file in sorted((ROOT / folder).rglob("*")) if file.is_file() and file.suffix in _TEXT]
    path = re.compile(r"/(home|root|work|Users)/\w")
    assert [name(file) for file in files if path.search(file.read_text())] == []


def test_python_files_in_packages_are_found_by_import() -> None:
    folders = {file.parent for file in modules("trioquorum")} - {ROOT / "trioquorum"}
    assert [name(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
