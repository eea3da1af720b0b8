"""The one version of the five distributions: checked by lint, set by a release.

python scripts/version.py check         everything that names the version agrees; exit 1 and the list if not
python scripts/version.py set 0.2.0     write it everywhere, pins and extras included
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DISTRIBUTIONS = ("gunicorn-server", "gunicorn-dirty-protocol", "gunicorn-dirty", "gunicorn-control", "gunicornc")
VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")

_NAMES = "|".join(sorted(DISTRIBUTIONS, key=len, reverse=True))
# Where versions stand: a project's own, a pin on one of ours, and what a package says of itself.
PLACES = {
    "pyproject.toml": (
        re.compile(r'^(version = ")([^"]+)(")', re.MULTILINE),
        re.compile(rf'("(?:{_NAMES})(?:\[[a-z0-9,]+\])?==)([^"]+)(")'),
    ),
    "__init__.py": (re.compile(r'^(__version__ = ")([^"]+)(")', re.MULTILINE),),
}
REQUIREMENT = re.compile(rf'"(?:{_NAMES})(?:\[[a-z0-9,]+\])?(?P<rest>|[<>=!~@ ;][^"]*)"')


class Mention(NamedTuple):
    """One place where a version stands."""

    path: Path
    line: int
    version: str


def files() -> Iterator[tuple[Path, tuple[re.Pattern[str], ...]]]:
    for name, patterns in PLACES.items():
        for path in sorted((ROOT / "packages").rglob(name)):
            if "tests" not in path.parts:
                yield path, patterns


def mentions() -> Iterator[Mention]:
    for path, patterns in files():
        text = path.read_text()
        for pattern in patterns:
            for match in pattern.finditer(text):
                yield Mention(path.relative_to(ROOT), text.count("\n", 0, match.start()) + 1, match[2])


def unpinned() -> Iterator[str]:
    """Dependencies on our own distributions that are not pinned exactly."""
    for path in sorted((ROOT / "packages").glob("*/pyproject.toml")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = None if line.startswith("name = ") else REQUIREMENT.search(line)
            if found and not found["rest"].startswith("=="):
                yield f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


def check() -> int:
    found = list(mentions())
    versions = {mention.version for mention in found}
    problems = [f"not pinned: {place}" for place in unpinned()]
    if len(versions) != 1:
        problems += [f"{mention.path}:{mention.line}: {mention.version}" for mention in found]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    problems += [
        f"CHANGELOG.md has no section for {version}" for version in versions if f"## {version}" not in changelog
    ]
    if problems:
        print("The version is not the same everywhere:", *problems, sep="\n  ")
        return 1
    print(f"{versions.pop()} in {len(found)} places")
    return 0


def write(version: str) -> int:
    if not VERSION.fullmatch(version):
        print(f"{version!r} is no version: give one like 0.2.0 or 0.2.0rc1 (PEP 440)")
        return 2
    for path, patterns in files():
        text = path.read_text()
        for pattern in patterns:
            text = pattern.sub(rf"\g<1>{version}\g<3>", text)
        path.write_text(text)
    return check()


def main(arguments: list[str]) -> int:
    if arguments == ["check"]:
        return check()
    if len(arguments) == 2 and arguments[0] == "set":
        return write(arguments[1])
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
