"""Entry points: the same as importlib.metadata finds, without loading it."""

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from gunicorn.supervision.entry_points import entry_points, load

GROUP = "gunicorn.test.points"
TEXT = """
# a comment = no:point
[console_scripts]
other = other:main

[ gunicorn.test.points ]
one = os:path
two=os.path:join [extra, more]
; three = none:none

three = a.b : C.d
[gunicorn.test.points.more]
four = os:sep
"""
FOUND = [("one", "os:path"), ("two", "os.path:join [extra, more]"), ("three", "a.b : C.d")]


def install(place: Path, name: str, text: str) -> None:
    folder = place / name
    folder.mkdir(parents=True)
    (folder / "entry_points.txt").write_text(text)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.partition('-')[0]}\nVersion: 1\n")


@pytest.mark.parametrize("kind", ["dist-info", "egg-info"])
def test_the_entry_points_of_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    install(tmp_path, f"a-1.{kind}", TEXT)
    (tmp_path / "b-1.egg-info").write_text("a file")
    monkeypatch.setattr(sys, "path", [str(tmp_path), str(tmp_path / "missing")])
    assert list(entry_points(GROUP)) == FOUND


def test_it_is_what_the_standard_library_finds() -> None:
    """Of all that is installed here."""
    groups = {entry.group for found in metadata.distributions() for entry in found.entry_points}
    assert groups
    for group in groups:
        expected = {(entry.name, entry.value) for entry in metadata.entry_points(group=group)}
        assert expected <= set(entry_points(group))


def test_archives_on_the_path_are_the_standard_librarys_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "app.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: a\nVersion: 1\n")
        made.writestr("a-1.dist-info/entry_points.txt", f"[{GROUP}]\none = os:path\n")
    monkeypatch.syspath_prepend(str(archive))
    assert list(entry_points(GROUP)) == [("one", "os:path")]


def test_loading() -> None:
    assert load("os:path") is sys.modules["os"].path
    assert load("os.path:join [extra]") is sys.modules["os"].path.join
    assert load("subprocess : Popen.wait") is subprocess.Popen.wait
    assert load("os") is sys.modules["os"]
    with pytest.raises(ModuleNotFoundError):
        load("gunicorn.no_such_module:x")
    with pytest.raises(AttributeError):
        load("os:no_such_name")


def test_the_master_does_not_load_what_it_spares() -> None:
    code = (
        "import sys, gunicorn.app.base as b; b.discover(); print([m for m in ('email', 'zipfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
