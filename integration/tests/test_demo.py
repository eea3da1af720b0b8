"""The demo of docs/examples/studio, as a visitor meets it: its real command, its real page, in a headless Chromium.

Wants the programs chromium and chromedriver (Debian: packages chromium and chromium-driver). Without them it is
skipped, but in CI (environment variable CI) it fails.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By

SERVE = Path(__file__).parents[2] / "docs" / "examples" / "studio" / "serve.py"
CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)
TIMES = "\N{MULTIPLICATION SIGN}"
PATIENCE = 30.0  # seconds, for one thing to happen; a loaded machine is slow


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition`, asked again and again. Fails when none comes."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    return pytest.fail(f"not within {PATIENCE:.0f} s: {what}")


def processes() -> dict[int, tuple[int, str]]:
    """Every process of this machine that is no zombie: its parent, and its start time, as a pid may come again."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended just now
                continue
            if fields[0] != "Z":
                found[int(entry.name)] = int(fields[1]), fields[19]
    return found


def tree_below(root: int) -> dict[int, str]:
    """The process and all below it, with their start times."""
    all_of_them = processes()
    found = {root: all_of_them[root][1]}
    grown = True
    while grown:
        below = {pid: start for pid, (parent, start) in all_of_them.items() if parent in found and pid not in found}
        found.update(below)
        grown = bool(below)
    return found


@dataclass
class Studio:
    """A running demo."""

    process: subprocess.Popen[bytes]
    url: str
    control_socket: Path
    temporary: Path

    def tree(self) -> dict[int, str]:
        return tree_below(self.process.pid)


def start(variant: str, folder: Path) -> subprocess.Popen[bytes]:
    """Run serve.py in a session of its own. It prints to folder/log, and has folder/tmp for its temporary files."""
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, str(SERVE), variant]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


@pytest.fixture(params=["flask", "starlette"])
def studio(request: pytest.FixtureRequest) -> Iterator[Studio]:
    folder = Path(tempfile.mkdtemp(prefix="demo-"))  # a short path: unix sockets lie in it
    (folder / "tmp").mkdir()
    process = start(request.param, folder)

    def opened() -> re.Match[str] | None:
        assert process.poll() is None, f"serve.py ended with {process.returncode}"
        return re.search(
            r"(http://127\.0\.0\.1:\d+)\s.*gunicornc -s (\S+) .*Ctrl-C", (folder / "log").read_text(), re.DOTALL
        )

    try:
        match = until(opened, "the demo prints its address and how to look inside")
        yield Studio(process, match[1], Path(match[2]), folder / "tmp")
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(PATIENCE)
        print((folder / "log").read_text())  # pytest shows it when the test has failed
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    browser, driver = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if browser is None or driver is None:
        reason = "chromium or chromedriver is not installed (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        try:
            chrome.set_page_load_timeout(PATIENCE)
            yield chrome
        finally:
            chrome.quit()


@dataclass
class Page:
    """What a visitor sees of the page and does with it."""

    chrome: webdriver.Chrome

    def text(self, selector: str) -> str:
        return self.chrome.find_element(By.CSS_SELECTOR, selector).text

    def texts(self, selector: str) -> list[str]:
        return [found.text for found in self.chrome.find_elements(By.CSS_SELECTOR, selector)]

    def click(self, selector: str) -> None:
        self.chrome.find_element(By.CSS_SELECTOR, selector).click()

    def type(self, selector: str, text: str) -> None:
        self.chrome.find_element(By.CSS_SELECTOR, selector).send_keys(text)

    def route(self, name: str) -> tuple[int, int]:
        """The numbers that the strip shows: the HTTP worker's and the dirty worker's."""
        return int(self.text(f"#{name}-route .http")), int(self.text(f"#{name}-route .dirty"))

    def words(self) -> list[str]:
        script = "return [...document.querySelectorAll('#story span')].map((word) => word.textContent)"
        found: list[str] = self.chrome.execute_script(script)
        return found


@pytest.fixture
def page(chromium: webdriver.Chrome, studio: Studio) -> Page:
    """The demo's page, opened and greeted by both dirty apps."""
    chromium.get(studio.url)
    opened = Page(chromium)
    until(
        lambda: opened.text("#front") and opened.text("#story-route .dirty").isdigit(), "the page knows its processes"
    )
    return opened


def draw_flag(path: Path) -> Path:
    """A picture whose sizes and colours are known: three quarters red, one quarter blue."""
    picture = Image.new("RGB", (1600, 900), (200, 30, 40))
    picture.paste((20, 60, 190), (1200, 0, 1600, 900))
    picture.save(path)
    return path


def test_a_picture_comes_back_in_sizes_with_its_colours(page: Page, studio: Studio, tmp_path: Path) -> None:
    page.type("#file", str(draw_flag(tmp_path / "flag.png")))
    until(lambda: page.texts("#sizes li") and page.text("#large ~ figcaption"), "the picture comes back")

    assert page.text("#original").startswith(f"flag.png · PNG · 1600 {TIMES} 900")
    shown = [re.sub(r"\n\d+ kB$", "", text).replace(TIMES, "x") for text in page.texts("#sizes li")]
    assert shown == ["Large\n1200 x 675", "Medium\n600 x 338", "Small\n240 x 135", "Icon\n64 x 36"]
    until(lambda: page.chrome.execute_script("return document.querySelector('#large').complete"), "it is decoded")
    script = "return [...document.querySelectorAll('#sizes img')].map((image) => image.naturalWidth)"
    assert page.chrome.execute_script(script) == [1200, 600, 240, 64]

    buttons = page.chrome.find_elements(By.CSS_SELECTOR, "#colours button")
    labels = [button.get_attribute("aria-label") or "" for button in buttons]
    assert re.fullmatch("Copy #c81e28, 7[45] % of the picture", labels[0])  # the seam may be a colour of its own
    assert re.fullmatch("Copy #143cbe, 2[45] % of the picture", labels[1])

    assert re.fullmatch(r"\d+ ms", page.text("#picture-route .measure"))
    http, dirty = page.route("picture")
    assert {http, dirty} <= studio.tree().keys() - {studio.process.pid}
    assert http != dirty


def test_words_arrive_one_by_one(page: Page, studio: Studio) -> None:
    page.chrome.execute_script(  # notes when how many words came, and whether the page then still expected more
        "window.arrivals = [];"
        "new MutationObserver((changes) => {"
        "  const words = changes.flatMap((change) => [...change.addedNodes]).filter((node) => node.tagName == 'SPAN');"
        "  const more = document.querySelector('#tell').textContent == 'Stop';"
        "  if (words.length) window.arrivals.push([performance.now(), words.length, more]);"
        "}).observe(document.querySelector('#story'), { childList: true });"
    )
    page.type("#opening", "python")
    page.click("#tell")
    until(lambda: page.words() and page.text("#tell") == "Write", "the text ends")

    words = page.words()
    assert words[0].startswith("Python")
    assert len(words) >= 70
    assert not page.text("#story-problem")
    arrivals = page.chrome.execute_script("return window.arrivals")
    assert sum(count for _, count, _ in arrivals) == len(words)
    assert len(arrivals) >= 10  # a busy machine may bring some at once, but not all
    assert all(more for _, _, more in arrivals[:10])
    assert arrivals[-1][0] - arrivals[0][0] > 1000  # milliseconds

    assert page.text("#story-route .measure") == f"{len(words)} words"
    http, dirty = page.route("story")
    assert {http, dirty} <= studio.tree().keys() - {studio.process.pid}
    assert http != dirty


def test_refusals_are_told(page: Page, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.png"
    nonsense.write_bytes(b"not a picture at all")
    page.type("#file", str(nonsense))
    until(lambda: "not a picture" in page.text("#picture-problem"), "the refusal is shown")
    page.type("#opening", "xyzzy")
    page.click("#tell")
    until(lambda: "“xyzzy” is not in the text" in page.text("#story-problem"), "the refusal is shown")
    page.click("#sample")
    until(lambda: page.texts("#sizes li"), "the page still works")
    assert not page.text("#picture-problem")


def test_a_killed_dirty_worker_is_replaced(page: Page, studio: Studio) -> None:
    _, killed = page.route("story")
    os.kill(killed, signal.SIGKILL)

    def writes_again() -> bool:
        if page.text("#tell") == "Write":
            page.click("#tell")
        return bool(page.words())

    until(writes_again, "words come again")
    _, replacement = page.route("story")
    assert replacement != killed
    assert replacement in studio.tree()


@pytest.mark.parametrize("way", ["Ctrl-C", "TERM"])
def test_nothing_is_left(page: Page, studio: Studio, way: str) -> None:
    page.click("#tell")
    until(page.words, "a text is being written")
    tree = studio.tree()
    assert len(tree) >= 1 + 2 + 1 + 2, "master, two HTTP workers, the pool's arbiter, two dirty workers"
    assert studio.control_socket.is_socket()

    if way == "Ctrl-C":
        os.killpg(studio.process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    else:
        studio.process.terminate()
    until(lambda: studio.process.poll() is not None, "the master ends")
    assert studio.process.returncode == 0

    def left() -> dict[int, str]:
        now = processes()
        return {pid: began for pid, began in tree.items() if pid in now and now[pid][1] == began}

    until(lambda: not left(), "every process of the tree is gone")
    assert list(studio.temporary.iterdir()) == []
