"""The page of dirty.py: docs/benchmarks/dirty.md with its table and plots, and the results as data."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from integration.benchmarks import plots
from integration.benchmarks.dirty_measures import CLIENTS, GOALS, WAIT, Growth, Rounds
from integration.benchmarks.report import markdown, plain

HEAD = ("what", "unit", "ours", "Gunicorn 27", "ratio (range)", "target", "reached")
GROWTH_HEAD = ("server", "workers", *(f"{clients} client{'s' if clients > 1 else ''}" for clients in CLIENTS))
KINDS = {"nothing": "of an action that does nothing", "waits": f"of an action that waits {WAIT * 1000:g} ms"}
INTRODUCTION = """# The dirty pool

Calls to our dirty pool and to that of Gunicorn 27, two workers each, from one web worker, in one run; the rounds of the
two alternate. This page, its plots and [dirty.json](dirty.json) are made by `hatch run bench:dirty`; how it measures is
in [integration/benchmarks](../../integration/benchmarks/README.md). Where a number resists, and what was tried:
[notes](dirty-notes.md).

```{toctree}
:hidden:

dirty-notes
```
"""


@dataclass
class Results:
    """Everything that one run has measured.

    :ivar about: machine, versions, options
    """

    rounds: Rounds
    growth: list[Growth]
    about: dict[str, Any]

    def write(self, path: Path) -> None:
        """As JSON, with the ratios."""
        ratios = {goal: self.rounds.ratio(goal) for goal in self.rounds.ours}
        path.write_text(json.dumps({**asdict(self), "ratios": ratios}, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """What `write` wrote. Raises OSError, and ValueError or KeyError for another file."""
        data = json.loads(path.read_text())
        return cls(Rounds(**data["rounds"]), [Growth(*one) for one in data["growth"]], data["about"])


def rows(rounds: Rounds) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, goal in GOALS.items():
        if key not in rounds.ours:
            continue
        ratios = rounds.ratios(key)
        reached = rounds.reached(key)
        found.append(
            (
                goal.name,
                goal.unit,
                figure(statistics.median(rounds.ours[key])),
                figure(statistics.median(rounds.theirs[key])),
                f"{ratio(rounds.ratio(key))} ({ratio(min(ratios))}-{ratio(max(ratios))})",
                "" if goal.target is None else f"{'≤' if goal.at_most else '≥'} {ratio(goal.target)}",
                "" if reached is None else "yes" if reached else "**no**",
            )
        )
    return found


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


def ratio(value: float) -> str:
    return f"{value:.3g}"


def growth_rows(growth: Sequence[Growth], kind: str) -> list[tuple[str, ...]]:
    """Calls/s: one row per server and number of workers."""
    chosen = [one for one in growth if one.kind == kind]
    calls = {(one.server, one.workers, one.clients): one.calls for one in chosen}
    lines = dict.fromkeys((one.server, one.workers) for one in sorted(chosen, key=lambda one: one.server != "ours"))
    return [
        (server, str(workers), *(f"{calls[server, workers, clients]:,.0f}" for clients in CLIENTS))
        for server, workers in lines
    ]


def sections(results: Results) -> list[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    """All tables: title, head, rows."""
    found: list[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = [
        ("Ours and Gunicorn 27's", HEAD, rows(results.rounds))
    ]
    found += [(f"Calls/s {text}", GROWTH_HEAD, growth_rows(results.growth, kind)) for kind, text in KINDS.items()]
    return [one for one in found if one[2]]


def text(results: Results) -> str:
    """The tables for the terminal."""
    return "\n\n".join(f"{name}\n{plain(head, lines)}" for name, head, lines in sections(results))


def pictures(results: Results) -> dict[str, tuple[str, str]]:
    """The plots by file name, each with its caption."""
    bars = [
        (
            f"{goal.name} ({goal.unit}; {'less' if goal.at_most else 'more'} is better)",
            [
                (server, value := statistics.median(side[key]), figure(value))
                for server, side in (("ours", results.rounds.ours), ("gunicorn27", results.rounds.theirs))
            ],
        )
        for key, goal in GOALS.items()
        if key in results.rounds.ours
    ]
    caption = "The dirty pool: ours and Gunicorn 27's, two workers"
    found = {"dirty": (caption, plots.bars(caption, bars))}
    for kind, name in KINDS.items():
        series = {
            f"{server}, {workers} worker{'s' if workers > 1 else ''}": [
                (one.clients, one.calls)
                for one in results.growth
                if (one.server, one.workers, one.kind) == (server, workers, kind)
            ]
            for server, workers in dict.fromkeys((one.server, one.workers) for one in results.growth)
        }
        if series:
            caption = f"Calls per second by clients, {name}"
            found[f"dirty-{kind}"] = (caption, plots.lines(caption, "clients", series))
    return found


def circumstances(results: Results) -> str:
    about = results.about
    return (
        f"{'A quick run, for orientation. ' if about['quick'] else ''}"
        f"Measured on {about['date']} in {about['minutes']} minutes on: {about['machine']}; Python {about['python']}; "
        f"ours {about['gunicorn-server']}{', compiled' if about.get('compiled') else ''}; "
        f"gunicorn {about['peers']['gunicorn']}; {about['wrk']}. "
        f"{about['rounds']} rounds of {about['seconds']:g} s each. The ratio is the median of the ratios of adjacent "
        "rounds, with their range.\n"
    )


def write(results: Results, folder: Path) -> None:
    """Write dirty.md, dirty.json and the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "dirty.json")
    judged = [reached for goal in results.rounds.ours if (reached := results.rounds.reached(goal)) is not None]
    parts = [INTRODUCTION, circumstances(results), f"{sum(judged)} of {len(judged)} targets are reached.\n"]
    parts += [f"## {name}\n\n{markdown(head, lines)}" for name, head, lines in sections(results)]
    parts.append("## Plots\n")
    for name, (caption, svg) in pictures(results).items():
        (folder / f"{name}.svg").write_text(svg)
        parts.append(f"![{caption}]({name}.svg)\n")
    (folder / "dirty.md").write_text("\n".join(parts))


def status(results: Results) -> int:
    """The exit status: 1 when a target was missed."""
    return 1 if any(results.rounds.reached(goal) is False for goal in results.rounds.ours) else 0
