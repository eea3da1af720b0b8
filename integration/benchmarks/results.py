"""What http.py has measured, as kept in results.json, and the judgement whether the targets are reached. Pure data."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from integration.benchmarks.harness import Sample

FIRST = "hello"  # the scenario that single targets are about
LOGGING = 0.85  # of the requests/s without an access log
P99 = 1.1  # times the best peer's p99 count as "no worse": two runs of one server differ by as much

# ours, peer, at least this ratio of requests/s, in the first scenario only
RATES = [
    ("sync", "granian-wsgi", 1.1, False),
    ("sync", "bjoern", 0.9, True),
    ("gthread", "granian-wsgi", 1.1, False),
    ("gthread", "bjoern", 0.9, True),
    ("gevent", "gunicorn27-gevent", 3.0, False),
    ("asgi", "uvicorn", 1.7, False),
    ("asgi", "granian-asgi", 1.5, False),
]
MEMORY = [("sync", "granian-wsgi"), ("gthread", "granian-wsgi"), ("gevent", "granian-wsgi"), ("asgi", "granian-asgi")]
# Latencies are measured at the same rate within a group, at half of what its slowest manages: ours, and the peers, of
# which the best counts.
LATENCY = [
    (("sync", "gthread"), ("granian-wsgi", "bjoern")),
    (("gevent",), ("gunicorn27-gevent",)),
    (("asgi",), ("uvicorn", "granian-asgi")),
]
OURS = [ours for group, _ in LATENCY for ours in group]


@dataclass
class Results:
    """Everything that one run has measured.

    :ivar about: machine, versions, options
    :ivar rates: by scenario, then server ("+log" when it wrote an access log): a Sample per round, in requests/s
    :ivar paces: by scenario: the rate in requests/s at which latencies were measured, by server
    :ivar latencies: by scenario, then server: what paced.c said, per round, in microseconds
    :ivar memory: by server: bytes of the worker, and of all processes
    """

    about: dict[str, Any] = field(default_factory=dict)
    rates: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    paces: dict[str, dict[str, float]] = field(default_factory=dict)
    latencies: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)

    def rate(self, scenario: str, server: str) -> float | None:
        """Median requests/s."""
        samples = self.rates.get(scenario, {}).get(server)
        return statistics.median(sample.score for sample in samples) if samples else None

    def cpu(self, scenario: str, server: str) -> float | None:
        """Median microseconds of CPU time per request."""
        samples = self.rates.get(scenario, {}).get(server)
        return statistics.median(sample.cpu for sample in samples) if samples else None

    def latency(self, scenario: str, server: str, quantile: str) -> float | None:
        """Median over the rounds of a quantile, in microseconds."""
        rounds = self.latencies.get(scenario, {}).get(server)
        return statistics.median(one[quantile] for one in rounds) if rounds else None

    def ratios(self, scenario: str, first: str, second: str) -> list[float]:
        """Requests/s of `first` over those of `second`, round by round; empty when one was not measured."""
        measured = self.rates.get(scenario, {})
        pairs = zip(measured.get(first, ()), measured.get(second, ()), strict=False)
        return [one.score / other.score for one, other in pairs]

    def cpu_ratio(self, scenario: str, first: str, second: str) -> float | None:
        """CPU time per request of `second` over that of `first`: over 1 where `first` needs less."""
        mine, theirs = self.cpu(scenario, first), self.cpu(scenario, second)
        return theirs / mine if mine and theirs else None

    def write(self, path: Path) -> None:
        data = {
            **asdict(self),
            "targets": [{**target._asdict(), "reached": target.reached} for target in targets(self)],
        }
        path.write_text(json.dumps(data, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """What `write` wrote. Raises OSError, and ValueError or KeyError for another file."""
        data = json.loads(path.read_text())
        data.pop("targets")
        data["memory"] = {server: (one, total) for server, (one, total) in data["memory"].items()}
        data["rates"] = {
            scenario: {server: [Sample(*sample) for sample in samples] for server, samples in servers.items()}
            for scenario, servers in data["rates"].items()
        }
        return cls(**data)


class Target(NamedTuple):
    """One number that is wanted, and what came out.

    :ivar kind: "rate", "logging", "latency" or "memory"
    :ivar values: the ratio, per round where there are rounds
    :ivar cpu: the same for the CPU time, which a busy machine changes less; no target
    """

    kind: str
    scenario: str
    first: str
    second: str
    values: Sequence[float]
    wanted: float
    at_most: bool = False
    cpu: float | None = None

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def reached(self) -> bool:
        return self.value <= self.wanted if self.at_most else self.value >= self.wanted


def targets(results: Results) -> list[Target]:
    """All targets whose servers were measured."""
    return [target for target in every_target(results) if target.values]


def every_target(results: Results) -> Iterator[Target]:
    for ours, peer, wanted, first_only in RATES:
        for scenario in results.rates:
            if scenario == FIRST or not first_only:
                for log in ("", "+log"):
                    first, second = ours + log, peer + log
                    ratios, cpu = results.ratios(scenario, first, second), results.cpu_ratio(scenario, first, second)
                    yield Target("rate", scenario, first, second, ratios, wanted, cpu=cpu)
    for ours in OURS:
        for scenario in results.rates:
            first = f"{ours}+log"
            ratios, cpu = results.ratios(scenario, first, ours), results.cpu_ratio(scenario, first, ours)
            yield Target("logging", scenario, first, ours, ratios, LOGGING, cpu=cpu)
    for group, peers in LATENCY:
        for scenario in results.latencies:
            found = {peer: value for peer in peers if (value := results.latency(scenario, peer, "p99")) is not None}
            for ours in group:
                mine = results.latency(scenario, ours, "p99")
                if found and mine is not None:
                    best = min(found, key=lambda peer: found[peer])
                    yield Target("latency", scenario, ours, best, [mine / found[best]], P99, at_most=True)
    for ours, peer in MEMORY:
        if ours in results.memory and peer in results.memory:
            ratio = results.memory[ours][0] / results.memory[peer][0]
            yield Target("memory", "", ours, peer, [ratio], 1.0, at_most=True)
