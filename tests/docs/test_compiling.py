"""The modules that ``ops/compiled`` compiles are such that mypyc can; what it could not is refused, with the reason."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compiling() -> ModuleType:
    spec = importlib.util.spec_from_file_location("compiling", ROOT / "ops/compiling.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_compiled_still_runs_and_keeps_its_lines(compiling: ModuleType, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "trioquorum", tmp_path / "trioquorum")
    compiling.prepare(tmp_path)
    lengths = {
        name: [len((folder / name).read_text().splitlines()) for folder in (ROOT, tmp_path)]
        for name in compiling.MODULES
    }
    assert {name for name, (before, after) in lengths.items() if before != after} == set()
    program = (
        "from trioquorum.server import port\n"
        "from trioquorum.tree import acl, node, nodes\n"
        "print(nodes.__file__, node.Node.__bases__)\n"
        "print(acl.AclRules.__module__, acl.DEFAULT_RULES.__struct_config__.frozen)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    nodes = tmp_path / "trioquorum/tree/nodes.py"
    assert ran.stdout == f"{nodes} (<class 'object'>,)\ntrioquorum.tree._structs_of_acl True\n"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("async def wait() -> None: ...", "tasks wait"),
        ("class Log(Archive):\n    zxid: int", "Log is a Archive"),
        ("class Log(Known, frozen=True):\n    zxid: int", "Log is a Known, frozen=True"),
        ("SIZE = 4\nclass Log(msgspec.Struct):\n    size: int = SIZE", "structs use SIZE"),
        ("class Log(msgspec.Struct):\n    async def wait(self) -> None: ...", "tasks wait"),
    ],
)
def test_what_cannot_be_compiled_is_refused(compiling: ModuleType, source: str, reason: str) -> None:
    with pytest.raises(compiling.NotCompilable, match=reason):
        compiling.split("some.py", "import msgspec\n" + source, "_structs_of_some", frozenset({"Known"}))


def test_structs_move_to_a_module_of_their_own(compiling: ModuleType) -> None:
    source = (
        "import msgspec\n\nfrom trioquorum.wire.ops import Op, Perm\n\n\n"
        "class Log(msgspec.Struct, frozen=True):\n    op: Op\n    size: int = 0\n\n\n"
        "class Book:\n    pages: list[Log]\n"
    )
    rest, structs = compiling.split("some.py", source, "some._structs_of_some", frozenset())
    assert rest.splitlines() == [
        "import msgspec",
        "",
        "from trioquorum.wire.ops import Op, Perm",
        "",
        "",
        "from some._structs_of_some import Log as Log",
        *[""] * 4,
        "class Book:",
        "    pages: list[Log]",
    ]
    assert structs.splitlines() == [
        '"""The structs of some.py, which mypyc cannot compile."""',
        "",
        "import msgspec",
        "from trioquorum.wire.ops import Op",
        "",
        "",
        "class Log(msgspec.Struct, frozen=True):",
        "    op: Op",
        "    size: int = 0",
    ]


def test_a_struct_of_fields_alone_becomes_a_class(compiling: ModuleType) -> None:
    source = (
        "import msgspec\n\n\n"
        'class Log(msgspec.Struct, gc=False):\n    """A log.\n\n    Of wood.\n    """\n\n'
        "    op: int\n    size: int = 4\n\n    def doubled(self) -> int:\n        return 2 * self.size\n"
    )
    rest, structs = compiling.split("some.py", source, "some._structs_of_some", frozenset())
    assert not structs
    assert len(rest.splitlines()) == len(source.splitlines())
    decorator = "@mypyc_attr(acyclic=True)"
    assert decorator in rest
    scope: dict[str, Any] = {}
    exec(rest.replace(decorator, ""), scope)  # noqa: S102
    log = scope["Log"]
    assert log.__bases__ == (object,)
    assert log(1).doubled() == 8
    assert log(op=1, size=3).doubled() == 6
    assert log(1) == log(1, 4)
    assert log(1) != log(2)
    assert log(1) != 1
