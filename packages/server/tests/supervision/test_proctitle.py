"""Process titles, seen from outside; in a process of its own, whose command line gets overwritten."""

import subprocess
import sys


def test_the_title_is_what_others_see_and_the_environment_survives() -> None:
    code = (
        "import os, sys, subprocess\n"
        "sys.modules['setproctitle'] = None\n"
        "from gunicorn.supervision.proctitle import set_title\n"
        "for title in ('a rather long title', 'short'):\n"
        "    assert set_title(title)\n"
        "    print(open('/proc/self/cmdline').read().rstrip(chr(0)))\n"
        "print(set_title('x' * 10000))\n"
        "shown = open('/proc/self/cmdline').read().rstrip(chr(0))\n"
        "print(shown == ('gunicorn: ' + 'x' * 10000)[:len(shown)] and len(shown) > 20)\n"
        "print(subprocess.check_output(['env']).decode().count('MARK=ER'))\n"
    )
    import os

    env = {**os.environ, "MARK": "ER"}
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env).stdout
    assert output.splitlines() == ["gunicorn: a rather long title", "gunicorn: short", "True", "True", "1"]


def test_setproctitle_is_used_where_it_is_installed() -> None:
    code = (
        "import sys, types\n"
        "seen = []\n"
        "sys.modules['setproctitle'] = types.SimpleNamespace(setproctitle=seen.append)\n"
        "from gunicorn.supervision.proctitle import set_title\n"
        "assert set_title('master [x]')\n"
        "print(seen)\n"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output == "['gunicorn: master [x]']\n"
