"""One worker on one core under HTTP load, ours beside the peers: requests/s, CPU time, latency, memory.

`hatch run bench:http`, or `python integration/benchmarks/http.py` where the packages are installed; see README.md. The
full run writes its tables and plots to docs/benchmarks.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a script: its folder would hide the standard library's http from everything
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from integration.benchmarks import harness, load, report
from integration.benchmarks.harness import Peers, Server, say
from integration.benchmarks.load import Load, NoGenerator
from integration.benchmarks.results import FIRST, LATENCY, Results
from integration.benchmarks.scenarios import SCENARIOS, Scenario
from integration.benchmarks.servers import Candidate, candidates

DOCS = harness.HERE.parents[1] / "docs" / "benchmarks"


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    :ivar seconds: of one round of wrk, which counts in whole seconds
    :ivar logged: the scenarios that are also measured with access logs
    :ivar paced: the scenarios whose latencies are measured
    :ivar paced_rounds: of `paced_seconds` each
    """

    rounds: int
    seconds: int
    logged: frozenset[str]
    paced: frozenset[str]
    paced_rounds: int
    paced_seconds: float


FULL = Extent(4, 1, frozenset(SCENARIOS), frozenset(SCENARIOS), 2, 1.5)
QUICK = Extent(2, 1, frozenset({FIRST}), frozenset({FIRST}), 1, 1.0)


class Run:
    """One run over all that was asked for; fills `results`."""

    def __init__(
        self, extent: Extent, scenarios: Sequence[Scenario], servers: Sequence[Candidate], cache: Path
    ) -> None:
        self.extent, self.scenarios, self.candidates = extent, scenarios, servers
        self.results = Results()
        self.client = load.paced_client(cache)
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self.loads = {one.name: Load(one.write(folder), one.connections, one.several) for one in scenarios}

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *problem: object) -> None:
        self._stack.close()

    def everything(self) -> None:
        for family in ("wsgi", "asgi"):
            members = [one for one in self.candidates if one.family == family]
            quiet = [member.server(logging=False) for member in members]
            logging = [one.server(logging=True) for one in members if one.logging is not None and one.target]
            if not any(scenario.name in self.extent.logged for scenario in self.scenarios):
                logging = []
            with harness.running(*quiet, *logging):
                for scenario in self.scenarios:
                    self.throughput(scenario, quiet + (logging if scenario.name in self.extent.logged else []))
                    if scenario.name in self.extent.paced:
                        self.latency(scenario, quiet)
        self.memory()

    def throughput(self, scenario: Scenario, servers: Sequence[Server]) -> None:
        """All run at the same time, one is under load; every other round goes through them backwards."""
        say(f"{scenario.title}: {', '.join(server.name for server in servers)}")
        rates = self.results.rates.setdefault(scenario.name, {})
        for server in servers:
            scenario.check("127.0.0.1", server.port)
        for turn in range(self.extent.rounds):
            for server in servers[:: -1 if turn % 2 else 1]:
                sample = load.as_fast_as_it_can(server, self.loads[scenario.name], self.extent.seconds)
                rates.setdefault(server.name, []).append(sample)
                server.forget_output()

    def latency(self, scenario: Scenario, servers: Sequence[Server]) -> None:
        """Each group at half of what its slowest manages."""
        paces = self.results.paces.setdefault(scenario.name, {})
        latencies = self.results.latencies.setdefault(scenario.name, {})
        for ours, peers in LATENCY:
            group = [server for server in servers if server.name in ours + peers]
            pace = min((self.results.rate(scenario.name, server.name) or 0.0 for server in group), default=0.0) / 2
            for turn in range(self.extent.paced_rounds):
                for server in group[:: -1 if turn % 2 else 1]:
                    paces[server.name] = pace
                    found = load.at_rate(
                        self.client, server.port, self.loads[scenario.name], pace, self.extent.paced_seconds
                    )
                    latencies.setdefault(server.name, []).append(found)

    def memory(self) -> None:
        """Each server alone, after the same few requests."""
        say("memory")
        scenario = self.scenarios[0]
        for candidate in self.candidates:
            server = candidate.server(logging=False)
            with harness.running(server):
                load.at_rate(self.client, server.port, self.loads[scenario.name], 1000, 0.5)
                self.results.memory[candidate.name] = server.memory()


def chosen(words: str | None, available: Sequence[str], what: str) -> list[str]:
    """The names in a list with commas. Raises SystemExit for one that there is not."""
    if words is None:
        return list(available)
    names = words.split(",")
    if unknown := set(names) - set(available):
        sys.exit(f"no such {what}: {', '.join(sorted(unknown))}; there are {', '.join(available)}")
    return [name for name in available if name in names]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="under three minutes: fewer rounds, logs and latencies once"
    )
    parser.add_argument("--compiled", action="store_true", help="ours with its hot modules compiled (docs/compiled.md)")
    parser.add_argument("--scenarios", metavar="NAMES", help=f"with commas, of: {', '.join(SCENARIOS)}")
    parser.add_argument("--servers", metavar="NAMES", help="with commas; sync, granian-wsgi …")
    parser.add_argument(
        "--rounds", type=int, help=f"rounds of each server (default: {FULL.rounds}, quick {QUICK.rounds})"
    )
    parser.add_argument("--peers", type=Path, metavar="DIR", help="environment of the peers (default: in the cache)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where index.md, results.json and the plots go")
    parser.add_argument(
        "--render", type=Path, metavar="FILE", help="measure nothing; write the pages of this results.json"
    )
    return parser.parse_args()


def measured(options: argparse.Namespace) -> Results:
    """Measure what the options say. Raises NoGenerator and RuntimeError."""
    began = time.monotonic()
    load.need_wrk()
    peers = Peers(options.peers)
    peers.install()
    extent = QUICK if options.quick else FULL
    if options.rounds:
        extent = Extent(**{**extent.__dict__, "rounds": options.rounds})
    python = harness.compiled(peers.folder.parent) if options.compiled else sys.executable
    available = candidates(peers, python)
    names = chosen(options.servers, [one.name for one in available], "server")
    servers = [one for one in available if one.name in names and (one.target or options.servers or not options.quick)]
    scenarios = [SCENARIOS[name] for name in chosen(options.scenarios, list(SCENARIOS), "scenario")]
    with Run(extent, scenarios, servers, peers.folder.parent) as run:
        try:
            run.everything()
        except RuntimeError:
            print(report.text(run.results))  # what is there already took minutes
            raise
        run.results.about = {
            **harness.about(peers, began),
            "compiled": options.compiled,
            "quick": extent.rounds < FULL.rounds,
            "wrk": load.need_wrk(),
            "rounds": extent.rounds,
            "seconds": extent.seconds,
            "paced_rounds": extent.paced_rounds,
            "paced_seconds": extent.paced_seconds,
        }
    return run.results


def main() -> int:
    options = parse()
    try:
        results = Results.read(options.render) if options.render else measured(options)
    except (NoGenerator, RuntimeError) as problem:
        sys.exit(f"{problem}")
    print(report.text(results))
    restricted = options.quick or options.scenarios or options.servers or options.rounds
    if output := options.output or (None if restricted else DOCS / "compiled" if options.compiled else DOCS):
        report.write(results, output)
        say(f"written to {output}")
    return report.status(results)


if __name__ == "__main__":
    sys.exit(main())
