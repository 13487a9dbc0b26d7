"""Compiles the hot pure modules with mypyc, in a copy of the tree; everything else stays as it is.

``python ops/compiling.py FOLDER`` does so in FOLDER, which must be such a copy. Sources stay beside their extension
modules, which come first in an import. mypyc needs mypy's ``mypyc`` extra and a C compiler.

What a module in ``MODULES`` has to respect, or this refuses it:

- no ``async``: Trio looks into coroutines, and those of mypyc show nothing;
- a class has no bases but those in ``BASES`` and classes of other compiled modules. ``msgspec.Struct`` is no class that
  mypyc can make (it would drop ``frozen`` and ``gc`` in silence), so its subclasses move to an interpreted module beside,
  ``_structs_of_NAME``, line by line, at every build. They may use what the module imports, and each other, but nothing
  else of it;
- a class that an interpreted one inherits from is in ``SUBCLASSED``.

Besides that a compiled module is strict where Python is not: arguments and attributes must have the declared types, only
declared attributes exist, nobody can replace a function or method from outside, and endless recursion ends the process.
"""

import ast
import builtins
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MODULES: Final = (
    "trioquorum/invariants.py",
    "trioquorum/pipeline/client.py",
    "trioquorum/pipeline/early_acl.py",
    "trioquorum/pipeline/leader.py",
    "trioquorum/pipeline/learner.py",
    "trioquorum/pipeline/local.py",
    "trioquorum/pipeline/local_sessions.py",
    "trioquorum/pipeline/read_only.py",
    "trioquorum/pipeline/replies.py",
    "trioquorum/pipeline/request_throttle.py",
    "trioquorum/pipeline/sending.py",
    "trioquorum/pipeline/service.py",
    "trioquorum/server/connection.py",
    "trioquorum/tree/acl.py",
    "trioquorum/tree/apply.py",
    "trioquorum/tree/digest.py",
    "trioquorum/tree/nodes.py",
    "trioquorum/tree/owners.py",
    "trioquorum/tree/paths.py",
    "trioquorum/tree/pending.py",
    "trioquorum/tree/prep.py",
    "trioquorum/tree/prep_ops.py",
    "trioquorum/tree/quotas.py",
    "trioquorum/tree/reads.py",
    "trioquorum/tree/sessions.py",
    "trioquorum/tree/watches.py",
    "trioquorum/wire/client.py",
    "trioquorum/wire/framing.py",
    "trioquorum/zab/leader.py",
    "trioquorum/zab/learner.py",
)
"""What runs for every request, of what needs neither tasks nor generated code."""

SUBCLASSED: Final = frozenset({"Client", "Connection"})
BASES: Final = frozenset({"Enum", "IntFlag", "NamedTuple", "Protocol", "TrioquorumError", "dict"})
STRUCT: Final = "msgspec.Struct"
GROUP: Final = "trioquorum"
"""Names the library that holds all of them, ``trioquorum__mypyc``."""


class NotCompilable(Exception):
    """A module breaks a rule above; the message says where and what to do."""


def prepare(folder: Path) -> list[Path]:
    """Move the structs of every module in ``MODULES`` below ``folder``; the modules that hold them now.

    Raises:
        NotCompilable: a module does not respect the rules; those before it are changed already.
    """
    sources = {name: (folder / name).read_text() for name in MODULES}
    compiled = frozenset(
        node.name
        for source in sources.values()
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and not is_struct(node)
    )
    made: list[Path] = []
    for name, source in sources.items():
        file = folder / name
        module = f"{'.'.join(file.relative_to(folder).parent.parts)}._structs_of_{file.stem}"
        rest, structs = split(name, source, module, BASES | compiled)
        file.write_text(rest)
        if structs:
            made.append(file.with_name(f"_structs_of_{file.name}"))
            made[-1].write_text(structs)
    return made


def split(name: str, source: str, module: str, bases: frozenset[str]) -> tuple[str, str]:
    """The source without structs, which it imports from ``module``, and that module's source, if there are any.

    Lines keep their numbers, so that tracebacks lead to the source as it was written.

    Raises:
        NotCompilable: see above.
    """
    tree = ast.parse(source)
    lines = source.splitlines()
    check(name, tree, bases)
    structs = [node for node in tree.body if isinstance(node, ast.ClassDef) and is_struct(node)]
    for node in structs:
        for at in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[at] = ""
        lines[node.lineno - 1] = f"from {module} import {node.name} as {node.name}"
    opened = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in SUBCLASSED]
    for node in opened:
        # Both lines in front of a class are empty. The decorator is for mypyc alone: it is gone at run time.
        lines[node.lineno - 3] = "from mypy_extensions import mypyc_attr"
        lines[node.lineno - 2] = "@mypyc_attr(allow_interpreted_subclasses=True)"
    return "\n".join(lines) + "\n", structs_module(name, tree, structs) if structs else ""


def is_struct(node: ast.ClassDef) -> bool:
    """Whether a class is one of msgspec's, by its own words."""
    return STRUCT in map(ast.unparse, node.bases)


def check(name: str, tree: ast.Module, bases: frozenset[str]) -> None:
    """Raise NotCompilable for what mypyc, or Trio, would take wrongly."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await):
            raise NotCompilable(f"{name}:{node.lineno}: it has tasks wait; leave it out of MODULES")
        if isinstance(node, ast.ClassDef) and not is_struct(node):
            other = [base for base in map(ast.unparse, node.bases) if base.partition("[")[0] not in bases]
            if other or node.keywords:
                raise NotCompilable(f"{name}:{node.lineno}: {node.name} is a {other}; move it to another module")


def structs_module(name: str, tree: ast.Module, structs: list[ast.ClassDef]) -> str:
    """The source of a module that holds ``structs`` and imports what they use."""
    inside = [node for struct in structs for node in ast.walk(struct)]
    used = {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    used -= {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    used -= {node.arg for node in inside if isinstance(node, ast.arg)}
    used -= {struct.name for struct in structs} | set(dir(builtins))
    lines = [f'"""The structs of {name}, which mypyc cannot compile."""', ""]
    for statement, alias in imported(tree):
        bound = alias.asname or alias.name
        if bound in used:
            used.remove(bound)
            statement.names = [alias]
            lines.append(ast.unparse(statement))
    if used:
        raise NotCompilable(f"{name}: structs use {', '.join(sorted(used))}; move one or the other to another module")
    for struct in structs:
        lines += ["", "", ast.unparse(struct)]
    return "\n".join(lines) + "\n"


def imported(tree: ast.Module) -> Iterator[tuple[ast.Import | ast.ImportFrom, ast.alias]]:
    """Every name that a module imports when it runs."""
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in list(statement.names):
                yield statement, alias


def compile_in(folder: Path) -> list[Path]:
    """``prepare``, and compile. What came into being: structs' modules, extension modules and their library."""
    from mypyc.build import mypycify
    from setuptools import Distribution

    made = prepare(folder)
    options = ["--explicit-package-bases", "--ignore-missing-imports", "--no-error-summary"]
    extensions = mypycify([*options, *MODULES], opt_level="3", debug_level="0", group_name=GROUP)
    command = Distribution({"name": GROUP, "ext_modules": extensions}).get_command_obj("build_ext")
    command.inplace = True
    command.build_temp = str(folder / "build")
    command.ensure_finalized()
    command.run()
    return made + sorted(file for file in folder.rglob("*.so") if file.is_relative_to(folder))
