"""What README and runbook show is true: commands parse, files load, links lead somewhere, every option has help."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from trioquorum import cli
from trioquorum.config import load_peers_toml
from trioquorum.exits import Exit

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "ops/runbook.md"]
COMMANDS: dict[str, Any] = get_command(cli.app).commands  # type: ignore[attr-defined]


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def shell_lines() -> Iterator[tuple[str, list[str]]]:
    """Every command shown, as its words, comments left out."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.splitlines():
                if words := shlex.split(line, comments=True):
                    yield page, words


@pytest.mark.parametrize(("page", "words"), list(shell_lines()), ids=str)
def test_a_shown_command_exists(page: str, words: list[str]) -> None:
    if words[0] == "trioquorum":
        assert words[1] in COMMANDS, f"{page} shows trioquorum {words[1]}"
        COMMANDS[words[1]].make_context(words[1], words[2:])  # raises when an option is unknown
    elif words[0].startswith("ops/"):
        file = ROOT / words[0]
        assert file.stat().st_mode & 0o111, f"{words[0]} is not executable"
        assert words[1:] == []
    else:
        assert words[0] == "echo", f"{page} shows {words[0]}, which nothing here checks"


def test_the_readme_shows_every_command() -> None:
    shown = re.findall(r"^\| `trioquorum (\w+)`", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(shown) == sorted(COMMANDS)


def test_every_command_and_option_has_help() -> None:
    assert set(COMMANDS) >= {"serve", "ensemble", "status"}
    for name, command in COMMANDS.items():
        assert command.help, f"{name} has no help"
        for option in command.params:
            assert option.help, f"{name} {option.opts[0]} has no help"
            assert option.help.rstrip("].").strip(), f"{name} {option.opts[0]} has no help"


def test_the_shown_ensemble_loads_for_every_peer(tmp_path: Path) -> None:
    shown = blocks("README.md", "toml")
    assert shown
    for block in shown:
        file = tmp_path / "peers.toml"
        file.write_text(block)
        ids = [peer["id"] for peer in tomllib.loads(block)["peer"]]
        assert [load_peers_toml(file, i, tmp_path).my_id for i in ids] == ids


def test_shown_programs_use_what_exists() -> None:
    shown = blocks("README.md", "python")
    assert shown
    for block in shown:
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                assert all(hasattr(import_module(node.module), alias.name) for alias in node.names), node.module
        from kazoo.client import KazooClient

        methods = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert all(hasattr(KazooClient(), method) for method in methods)


def test_the_runbook_lists_every_exit_code() -> None:
    listed = re.findall(r"^\| (\d+) \|", (ROOT / "ops/runbook.md").read_text(), re.MULTILINE)
    assert [int(code) for code in listed] == sorted(Exit)


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_lead_to_files(page: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    missing = [t for t in targets if "://" not in t and not (ROOT / page).parent.joinpath(t).exists()]
    assert missing == []
