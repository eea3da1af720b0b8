"""Charts as SVG, made by hand: small, and the same bytes for the same numbers.

Called by report.py and dirty_report.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from integration.benchmarks.results import Results
from integration.benchmarks.scenarios import SCENARIOS

OURS = {"ours": "#0b6e4f", "sync": "#0b6e4f", "gthread": "#1f9d6b", "gevent": "#74c69d", "asgi": "#0b6e4f"}
THEIRS = ("#8d99ae", "#b0b8c8", "#5c677d", "#7d8597", "#c9ced8")
WIDTH, LABEL, BAR, GAP = 860, 170, 15, 14
TEXT = "#222"

Groups = Sequence[tuple[str, Sequence[tuple[str, float, str]]]]


def bars(caption: str, groups: Groups) -> str:
    """Horizontal bars; each group has a scale of its own.

    :param groups: title, and for each bar its server, value and label
    """
    y = 30
    parts = []
    for title, members in groups:
        if not members:
            continue
        parts.append(f'<text x="8" y="{y + 12}" font-weight="bold">{escape(title)}</text>')
        y += 20
        longest = max(value for _, value, _ in members) or 1.0
        others = 0
        for server, value, label in members:
            color = OURS.get(server)
            if color is None:
                color = THEIRS[others % len(THEIRS)]
                others += 1
            length = value / longest * (WIDTH - LABEL - 130)
            parts.append(f'<text x="{LABEL - 6}" y="{y + 12}" text-anchor="end">{escape(server)}</text>')
            parts.append(f'<rect x="{LABEL}" y="{y + 1}" width="{length:.1f}" height="{BAR - 2}" fill="{color}"/>')
            parts.append(f'<text x="{LABEL + length + 6:.1f}" y="{y + 12}">{escape(label)}</text>')
            y += BAR
        y += GAP
    style = f'font-family="sans-serif" font-size="11" fill="{TEXT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" {style}>'
    background = f'<rect width="{WIDTH}" height="{y}" fill="#fff"/>'
    name = f'<text x="8" y="18" font-size="14" font-weight="bold">{escape(caption)}</text>'
    return "\n".join([head, background, name, *parts, "</svg>"]) + "\n"


def by_scenario(
    results: Results, servers: Sequence[str], value: Callable[[str, str], float | None], label: Callable[[float], str]
) -> Groups:
    """A group of bars for each scenario."""
    groups = []
    for name, scenario in SCENARIOS.items():
        found = [(server, amount) for server in servers if (amount := value(name, server)) is not None]
        groups.append((scenario.title, [(server, amount, label(amount)) for server, amount in found]))
    return groups


def all_plots(results: Results, families: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str]]:
    """The plots by file name, each with its caption. Those without data are left out."""
    found = {}
    for family, servers in families.items():
        rates = by_scenario(results, servers, results.rate, lambda rate: f"{rate:,.0f}/s")
        if any(members for _, members in rates):
            caption = f"{family.upper()}: requests per second (more is better)"
            found[f"{family}-rates"] = (caption, bars(caption, rates))
        latencies = by_scenario(
            results,
            servers,
            lambda scenario, server: results.latency(scenario, server, "p99"),
            lambda us: f"{us / 1000:.2f} ms",
        )
        if any(members for _, members in latencies):
            caption = f"{family.upper()}: p99 latency at half load (less is better)"
            found[f"{family}-latency"] = (caption, bars(caption, latencies))
    if results.memory:
        caption = "Memory of a worker, PSS (less is better)"
        members = [(server, size / 2**20, f"{size / 2**20:.1f} MiB") for server, (size, _) in results.memory.items()]
        found["memory"] = (caption, bars(caption, [("", members)]))
    return found


def lines(caption: str, across: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Lines over a logarithmic axis from 1. `series` by name: x and y."""
    width, height, left, top, bottom, right = WIDTH, 360, 70, 40, 50, 190
    most = max((y for points in series.values() for _, y in points), default=1.0) or 1.0
    last = max((x for points in series.values() for x, _ in points), default=1.0)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + math.log2(x) / (math.log2(last) or 1.0) * (width - left - right),
            height - bottom - y / most * (height - top - bottom),
        )

    parts = []
    for step in range(5):
        _, at = place(1, most * step / 4)
        parts.append(f'<line x1="{left}" y1="{at:.1f}" x2="{width - right}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{most * step / 4:,.0f}</text>')
    for x in sorted({x for points in series.values() for x, _ in points}):
        at, _ = place(x, 0)
        parts.append(f'<text x="{at:.1f}" y="{height - bottom + 16}" text-anchor="middle">{x:g}</text>')
    parts.append(f'<text x="{(left + width - right) / 2:.0f}" y="{height - 12}" text-anchor="middle">{across}</text>')
    colors = {True: iter(("#0b6e4f", "#1f9d6b", "#74c69d") * 3), False: iter(THEIRS * 3)}
    taken: list[float] = []  # heights of the names at the lines' ends, which are not to cover one another
    for name, points in sorted(series.items(), key=lambda item: -item[1][-1][1]):
        color = next(colors[name.startswith("ours")])
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        y = max([place(*points[-1])[1], *(other + 13 for other in taken[-1:])])
        taken.append(y)
        parts.append(f'<text x="{width - right + 8}" y="{y + 4:.1f}" fill="{color}">{escape(name)}</text>')
    style = f'font-family="sans-serif" font-size="11" fill="{TEXT}"'
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>'
    name = f'<text x="8" y="18" font-size="14" font-weight="bold">{escape(caption)}</text>'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="#fff"/>', name, *parts, "</svg>"]) + "\n"
