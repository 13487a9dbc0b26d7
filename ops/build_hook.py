"""A wheel with compiled modules, by hatchling: ``TRIOQUORUM_COMPILE=1 pip install .``; else nothing happens here."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "TRIOQUORUM_COMPILE"
COMPILER = ["mypy[mypyc]>=2.4", "setuptools>=77"]


class CompiledWheel(BuildHookInterface[Any]):
    """Adds the extension modules of ``compiling`` to a wheel, which is then for one Python and platform."""

    _folder: str | None = None

    def dependencies(self) -> list[str]:
        """What the build needs; mypy looks into what the package uses, too."""
        return [*COMPILER, *self.metadata.core.dependencies] if self._wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile in a folder of its own. Who installs for editing gets no extension modules: they would not follow."""
        if not self._wanted() or version == "editable":
            return
        self._folder = tempfile.mkdtemp(prefix="trioquorum-")
        folder = Path(self._folder, "copy")
        subprocess.run([sys.executable, str(Path(self.root, "ops/compiling.py")), str(folder)], check=True)
        for file in sorted(folder.rglob("*")):
            if file.suffix == ".so" or file.name.startswith("_structs_of_"):
                build_data["force_include"][str(file)] = str(file.relative_to(folder))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is packed."""
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def _wanted(self) -> bool:
        return os.environ.get(SWITCH, "") not in ("", "0")
