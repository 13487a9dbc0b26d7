"""Compiles the hot pure modules with mypyc, in a copy of the tree: ``python ops/compiling.py FOLDER``.

Extension modules lie beside their sources, which nothing else changes; an import finds them first. Nothing is done when
FOLDER holds what this tree would give. Needs mypy with its ``mypyc`` extra, a C compiler and Python's headers.

What a module in ``MODULES`` has to respect, or this refuses it:

- no ``async``: Trio looks into coroutines, and those of mypyc show nothing;
- a class has no bases but those in ``BASES`` and classes of other compiled modules. ``msgspec.Struct`` is nothing that
  mypyc can inherit from (``frozen`` and ``gc`` would be dropped in silence). At every build its subclasses with
  ``gc=False`` and nothing else become plain classes, whose attributes mypyc reads in a
  nanosecond. All others, and jute records, move to an interpreted module beside,
  ``_structs_of_NAME``. They may use what the module imports, and each other, but nothing else of it;
- a class that an interpreted one inherits from is in ``SUBCLASSED``.

Numbers that ``librt`` reads are of 32 or 64 bits, and so is what is computed with them, unless the variable that takes
one is declared ``int``.

Besides, compiled modules are strict where Python is not: arguments and attributes must have their declared types, only
declared attributes exist, nobody can replace a function or method from outside, and recursion has no limit but the
stack.
"""

import ast
import builtins
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MODULES: Final = (
    "trioquorum/invariants.py",
    "trioquorum/metrics.py",
    "trioquorum/pipeline/client.py",
    "trioquorum/pipeline/early_acl.py",
    "trioquorum/pipeline/forwarded.py",
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
    "trioquorum/server/sockets.py",
    "trioquorum/storage/applying.py",
    "trioquorum/storage/digest_check.py",
    "trioquorum/storage/log_format.py",
    "trioquorum/storage/log_queue.py",
    "trioquorum/storage/snapshot.py",
    "trioquorum/tree/acl.py",
    "trioquorum/tree/apply.py",
    "trioquorum/tree/children.py",
    "trioquorum/tree/digest.py",
    "trioquorum/tree/digest_ahead.py",
    "trioquorum/tree/node.py",
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
    "trioquorum/wire/fields.py",
    "trioquorum/wire/framing.py",
    "trioquorum/wire/quorum.py",
    "trioquorum/wire/txn.py",
    "trioquorum/zab/leader.py",
    "trioquorum/zab/learner.py",
)
"""What runs for every request, of what needs neither tasks nor generated code."""

SUBCLASSED: Final = frozenset({"Applier", "Client", "Connection", "LogQueue", "Sockets"})
BASES: Final = frozenset({"Enum", "IntEnum", "IntFlag", "NamedTuple", "Protocol", "TrioquorumError", "dict"})
STRUCTS: Final = frozenset({"msgspec.Struct", "Record"})
PLAIN: Final = ["msgspec.Struct", "gc=False"]
GROUP: Final = "trioquorum"
"""Names the library that holds all of them, ``trioquorum__mypyc``."""
COPIED: Final = ("trioquorum", "transports", "tests", "bench", "ops")
STAMP: Final = ".compiled-from"


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
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in filter(is_plain, classes):
        make_plain(lines, node)
    structs = [node for node in classes if is_struct(node) and not is_plain(node)]
    for node in structs:
        for at in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[at] = ""
        lines[node.lineno - 1] = f"from {module} import {node.name} as {node.name}"
    for node in classes:
        if node.name in SUBCLASSED:
            decorate(lines, node, "allow_interpreted_subclasses=True")
    return "\n".join(lines) + "\n", structs_module(name, tree, structs) if structs else ""


def is_struct(node: ast.ClassDef) -> bool:
    """Whether a class is one of msgspec's, by its own words."""
    return not STRUCTS.isdisjoint(map(ast.unparse, node.bases))


def is_plain(node: ast.ClassDef) -> bool:
    """Whether nothing but its fields makes a class a struct."""
    words = [ast.unparse(part) for part in [*node.bases, *node.keywords]]
    return words == PLAIN and not node.decorator_list


def make_plain(lines: list[str], node: ast.ClassDef) -> None:
    """Turn a struct into a class with a constructor, which takes the place of the docstring, and equality."""
    fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
    given = [
        f"{ast.unparse(field.target)}: {ast.unparse(field.annotation)}"
        + (f" = {ast.unparse(field.value)}" if field.value is not None else "")
        for field in fields
    ]
    names = [ast.unparse(field.target) for field in fields]
    taken = "; ".join(f"self.{name} = {name}" for name in names)
    for field in fields:
        # A default would be a class variable.
        lines[field.lineno - 1] = f"    {ast.unparse(field.target)}: {ast.unparse(field.annotation)}"
    docstring = node.body[0]
    for at in range(docstring.lineno - 1, docstring.end_lineno or docstring.lineno):
        lines[at] = ""
    lines[docstring.lineno - 1] = f"    def __init__(self, {', '.join(given)}) -> None: {taken}"
    same = " and ".join(f"self.{name} == other.{name}" for name in names)
    lines[docstring.end_lineno or docstring.lineno] = (  # which is empty
        f"    def __eq__(self, other: object) -> bool: return isinstance(other, {node.name}) and {same}"
    )
    lines[node.lineno - 1] = f"class {node.name}:"
    decorate(lines, node, "acyclic=True")


def decorate(lines: list[str], node: ast.ClassDef, attribute: str) -> None:
    """Tell mypyc, and nobody else: at run time nothing is left of it."""
    # Both lines in front of a class are empty.
    lines[node.lineno - 3] = "from mypy_extensions import mypyc_attr"
    lines[node.lineno - 2] = f"@mypyc_attr({attribute})"


def check(name: str, tree: ast.Module, bases: frozenset[str]) -> None:
    """Raise NotCompilable for what mypyc, or Trio, would take wrongly."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await):
            raise NotCompilable(f"{name}:{node.lineno}: it has tasks wait; leave it out of MODULES")
        if isinstance(node, ast.ClassDef) and not is_struct(node):
            known = all(base.partition("[")[0] in bases for base in map(ast.unparse, node.bases))
            if node.keywords or not known:
                parents = ", ".join(map(ast.unparse, [*node.bases, *node.keywords]))
                raise NotCompilable(f"{name}:{node.lineno}: {node.name} is a {parents}; move it to another module")


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


def copy(root: Path, folder: Path) -> bool:
    """Copy the tree, unless ``folder`` was compiled from the same; whether it was not."""
    stamp = hashlib.sha256(sys.version.encode())
    for file in sorted(file for name in COPIED for file in (root / name).rglob("*.py")):
        stamp.update(f"{file.relative_to(root)} {file.stat().st_mtime_ns} {file.stat().st_size}\n".encode())
    text = stamp.hexdigest()
    if (folder / STAMP).is_file() and (folder / STAMP).read_text() == text:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in root.iterdir():
        if file.is_file() and file.name != ".git":  # where a worktree has its history
            shutil.copy2(file, folder)
    return True


def compile_in(folder: Path) -> None:
    """``prepare``, and compile; ``folder`` is the working directory."""
    from mypyc.build import mypycify
    from setuptools import Distribution

    options = ["--config-file=", "--explicit-package-bases", "--ignore-missing-imports", "--no-error-summary"]
    extensions = mypycify([*options, *MODULES], debug_level="0", group_name=GROUP)
    command = Distribution({"name": GROUP, "ext_modules": extensions}).get_command_obj("build_ext")
    command.inplace = True
    command.ensure_finalized()
    command.run()
    shutil.rmtree(folder / "build")


def main() -> None:
    """Copy, prepare, compile."""
    root, folder = Path(__file__).resolve().parents[1], Path(sys.argv[1]).resolve()
    if copy(root, folder):
        try:
            prepare(folder)
        except NotCompilable as error:
            sys.exit(f"ops/compiling.py: {error}")
        os.chdir(folder)
        compile_in(folder)


if __name__ == "__main__":
    main()
