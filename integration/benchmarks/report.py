"""Pages from results: the tables for the terminal, and docs/benchmarks with its plots. http.py calls it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from integration.benchmarks import plots
from integration.benchmarks.results import Results, Target, targets
from integration.benchmarks.scenarios import SCENARIOS

WSGI = (
    "sync",
    "gthread",
    "gevent",
    "granian-wsgi",
    "bjoern",
    "gunicorn27-sync",
    "gunicorn27-gthread",
    "gunicorn27-gevent",
)
ASGI = ("asgi", "granian-asgi", "uvicorn", "gunicorn27-asgi")
KINDS = {
    "rate": "Requests per second, ours over theirs",
    "logging": "Requests per second with an access log over without",
    "latency": "p99 latency at half load, ours over the best peer's",
    "memory": "Memory of the worker, ours over theirs",
}
INTRODUCTION = """# Benchmarks

One worker on one core, keep-alive, the load on the other core; all servers in one run, under load in turn. This page,
the plots and [results.json](results.json) are made by `hatch run bench:http`; how it measures, and what to beware of,
is in [integration/benchmarks](../../integration/benchmarks/README.md). What resists,
and why: [notes](notes.md). The dirty pool has [its own page](dirty.md).

```{toctree}
:hidden:

notes
dirty
```
"""
COMPILED_LINK = """
Our server [compiled](compiled/index.md) has figures of its own.

```{toctree}
:hidden:

compiled/index
```
"""

COMPILED_INTRODUCTION = """# The same, compiled

As [the page before](../index.md), with the hot modules of our server [compiled](../../compiled.md) from the same
sources: `hatch run bench:http --compiled`.
"""


def title(scenario: str) -> str:
    return SCENARIOS[scenario].title if scenario in SCENARIOS else scenario


def spread(target: Target) -> str:
    if len(target.values) == 1:
        return f"{target.value:.2f}"
    return f"{target.value:.2f} ({min(target.values):.2f}-{max(target.values):.2f})"


def rows_of_targets(found: Sequence[Target]) -> list[tuple[str, ...]]:
    """One row per target: what, ours, theirs, value with range, wanted, reached."""
    return [
        (
            title(one.scenario) if one.scenario else "-",
            one.first,
            one.second,
            spread(one),
            f"{'≤' if one.at_most else '≥'} {one.wanted:g}",
            "yes" if one.reached else "**no**",
            number(one.cpu, 2),
        )
        for one in found
    ]


def number(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def rates_table(results: Results, servers: Sequence[str]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Requests/s, with the CPU time per request behind it, by server and scenario."""
    rows = []
    for server in servers:
        for name in (server, f"{server}+log"):
            cells = [
                f"{number(rate)} ({number(results.cpu(scenario, name), 1)})"
                if (rate := results.rate(scenario, name)) is not None
                else ""
                for scenario in results.rates
            ]
            if any(cells):
                rows.append((name, *cells))
    return ["server", *(title(scenario) for scenario in results.rates)], rows


def latency_table(results: Results, servers: Sequence[str]) -> tuple[list[str], list[tuple[str, ...]]]:
    """p50 and p99 in milliseconds at the rate behind them, by server and scenario."""
    rows = []
    for server in servers:
        cells = []
        for scenario in results.latencies:
            p50, p99 = (results.latency(scenario, server, quantile) for quantile in ("p50", "p99"))
            if p50 is None or p99 is None:
                cells.append("")
            else:
                cells.append(f"{p50 / 1000:.2f} / {p99 / 1000:.2f} at {number(results.paces[scenario][server])}/s")
        if any(cells):
            rows.append((server, *cells))
    return ["server", *(title(scenario) for scenario in results.latencies)], rows


def memory_table(results: Results) -> tuple[list[str], list[tuple[str, ...]]]:
    rows: list[tuple[str, ...]] = [
        (server, f"{worker / 2**20:.1f}", f"{total / 2**20:.1f}") for server, (worker, total) in results.memory.items()
    ]
    return ["server", "worker [MiB]", "all processes [MiB]"], rows


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plain(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in lines
    )


TARGET_HEAD = ("scenario", "ours", "against", "ratio (range)", "target", "reached", "CPU theirs/ours")


def sections(results: Results) -> list[tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    """All tables: title, head, rows."""
    found = targets(results)
    tables: list[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = []
    for kind, name in KINDS.items():
        if chosen := [one for one in found if one.kind == kind]:
            tables.append((name, TARGET_HEAD, rows_of_targets(chosen)))
    for family, servers in (("WSGI", WSGI), ("ASGI", ASGI)):
        tables.append((f"{family}: requests/s (µs of CPU per request)", *rates_table(results, servers)))
        tables.append((f"{family}: latency at half load, p50 / p99 in ms", *latency_table(results, servers)))
    tables.append(("Memory (PSS)", *memory_table(results)))
    return [table for table in tables if table[2]]


def text(results: Results) -> str:
    """The tables for the terminal."""
    return "\n\n".join(f"{name}\n{plain(head, rows)}" for name, head, rows in sections(results))


def circumstances(results: Results) -> str:
    about = results.about
    peers = ", ".join(f"{name} {version}" for name, version in about["peers"].items())
    return (
        f"{'A quick run, for orientation. ' if about['quick'] else ''}"
        f"Measured on {about['date']} in {about['minutes']} minutes on: {about['machine']}; Python {about['python']}; "
        f"ours {about['gunicorn-server']}{', compiled' if about.get('compiled') else ''}; {peers}; {about['wrk']}. "
        f"{about['rounds']} rounds of {about['seconds']} s each; latencies {about['paced_rounds']} rounds of "
        f"{about['paced_seconds']} s. The ratio is the median over the rounds, with their range.\n"
    )


def write(results: Results, folder: Path) -> None:
    """Write index.md, results.json and the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder / "results.json")
    pictures = plots.all_plots(results, {"wsgi": WSGI, "asgi": ASGI})
    for name, (_, svg) in pictures.items():
        (folder / f"{name}.svg").write_text(svg)
    parts = [COMPILED_INTRODUCTION if results.about.get("compiled") else INTRODUCTION]
    if (folder / "compiled" / "index.md").exists():
        parts.append(COMPILED_LINK)
    parts.append(circumstances(results))
    parts += [f"![{caption}]({name}.svg)\n" for name, (caption, _) in pictures.items()]
    found = targets(results)
    parts.append(f"## Targets\n\n{sum(one.reached for one in found)} of {len(found)} are reached.\n")
    for name, head, rows in sections(results):
        level = "###" if head is TARGET_HEAD else "##"
        parts.append(f"{level} {name}\n\n{markdown(head, rows)}")
    (folder / "index.md").write_text("\n".join(parts))


def status(results: Results) -> int:
    """The exit status: 1 when a target was missed."""
    return 0 if all(one.reached for one in targets(results)) else 1
