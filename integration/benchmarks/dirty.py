"""Calls to the dirty pool, ours and that of Gunicorn 27, measured in turn in one run: everything that issue 5 names.

`hatch run bench:dirty`, or `python integration/benchmarks/dirty.py` where the packages are installed; see README.md.
The full run writes docs/benchmarks/dirty.md, its plots and dirty.json.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if not __package__:  # run as a script: its folder would hide the standard library's http from everything
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from integration.benchmarks import dirty_measures as measures
from integration.benchmarks import dirty_report, harness, load
from integration.benchmarks.dirty_report import Results
from integration.benchmarks.harness import Peers
from integration.benchmarks.load import NoGenerator

DOCS = harness.HERE.parents[1] / "docs" / "benchmarks"
FULL = (5, 1.0, 0.4)  # rounds, seconds of each, seconds of each point of the growth
QUICK = (2, 0.5, 0.0)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under a minute: fewer and shorter rounds, no growth")
    parser.add_argument("--compiled", action="store_true", help="ours with its hot modules compiled (docs/compiled.md)")
    parser.add_argument("--only", metavar="WORDS", help="with commas, parts of names: median, stash …; no growth")
    parser.add_argument("--rounds", type=int, help=f"of each server (default: {FULL[0]}, quick {QUICK[0]})")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="environment of the peers (default: in the cache)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where dirty.md, dirty.json and the plots go")
    parser.add_argument(
        "--render", type=Path, metavar="FILE", help="measure nothing; write the page of this dirty.json"
    )
    return parser.parse_args()


def measured(options: argparse.Namespace) -> Results:
    """Measure what the options say. Raises NoGenerator and RuntimeError."""
    began = time.monotonic()
    wrk = load.need_wrk()
    peers = Peers(options.peers)
    peers.install()
    python = harness.compiled(peers.folder.parent) if options.compiled else sys.executable
    rounds, seconds, growing = QUICK if options.quick else FULL
    rounds = options.rounds or rounds
    wanted = (options.only or "").split(",")
    found = measures.Rounds({}, {})
    results = Results(found, [], {})

    def is_wanted(*names: str) -> bool:
        return any(word in name for word in wanted for name in names)

    ours, theirs = measures.both(python, peers, workers=2)
    with harness.running(ours, theirs):
        for name, measure in measures.PAIR.items():
            if is_wanted(*name.split()):
                with measures.timed(name):
                    measures.in_turn(ours, theirs, measure, rounds, seconds, found)
    if is_wanted("sleeps"):
        ours, theirs = measures.both(python, peers, workers=2, threads=4)
        with measures.timed("sleeps"), harness.running(ours, theirs):
            measures.in_turn(ours, theirs, measures.sleeps, rounds, seconds, found)
    if growing and not options.only:
        for workers in measures.WORKERS:
            pair = measures.both(python, peers, workers)
            with measures.timed(f"growth, {workers} workers"), harness.running(*pair):
                results.growth += measures.growth(pair, workers, growing)
    results.about = {
        **harness.about(peers, began),
        "compiled": options.compiled,
        "quick": options.quick,
        "rounds": rounds,
        "seconds": seconds,
        "wrk": wrk,
    }
    return results


def main() -> int:
    options = parse()
    try:
        results = Results.read(options.render) if options.render else measured(options)
    except (NoGenerator, RuntimeError) as problem:
        sys.exit(f"{problem}")
    print(dirty_report.text(results))
    restricted = options.quick or options.only or options.rounds or options.compiled
    if output := options.output or (None if restricted else DOCS):
        dirty_report.write(results, output)
        harness.say(f"written to {output}")
    return dirty_report.status(results)


if __name__ == "__main__":
    sys.exit(main())
