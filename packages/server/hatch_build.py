"""Builds a wheel whose hot modules are machine code: the same sources, compiled by mypyc. Off unless it is asked for:

    HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 pip install .

It needs a C compiler. The modules, which `modules` in pyproject.toml names relative to src, lie beside the extensions
in the wheel, as in any other. Used by packages/server, and by packages/dirty through a symbolic link. See
docs/compiled.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileHook(BuildHookInterface[Any]):
    """Adds the extensions to a wheel, which then is one for this interpreter and platform."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return  # an extension beside a source that is being edited would hide what changes
        self._place = Path(tempfile.mkdtemp(prefix="compiled-"))
        shutil.copytree(Path(self.root, "src"), self._place, dirs_exist_ok=True)
        self._compile()
        for extension in sorted(self._place.rglob("*.so")):
            path = extension.relative_to(self._place)
            if path.parts[0] != "build":
                build_data["force_include"][str(extension)] = str(path)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def _compile(self) -> None:
        """Compile in the copy, where no configuration of another project is found. Raises RuntimeError."""
        flags = ("--config-file=", "--explicit-package-bases", "--follow-imports=silent", "--ignore-missing-imports")
        done = subprocess.run(
            [sys.executable, "-m", "mypyc", *flags, *self.config["modules"]],
            cwd=self._place, env={**os.environ, "MYPYPATH": "", "MYPYC_OPT_LEVEL": "3", "MYPYC_DEBUG_LEVEL": "0"},
            check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            self.finalize("", {}, "")
            name = self.metadata.name
            raise RuntimeError(f"mypyc could not compile {name}; without this hook none is needed:\n{done.stdout}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            shutil.rmtree(self._place, ignore_errors=True)
