#!/usr/bin/env python3
"""Chaos on real processes: stock clients, faults, and a judge. See docs/TESTING.md, or `run.sh --help`."""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback

import faults
import gaps
import histcheck
from cluster import BINARY, PATIENCE, Cluster
from harness import Run
from scenarios import SCENARIOS, SIZES

# Bounds of one scenario, so that a set ends whatever happens: some for the start and the end, and some for each fault.
SCENARIO_SECONDS = 300
FAULT_SECONDS_MAX = 120
# Of why a scenario did not pass, in its figures.
REASON_CHARACTERS_MAX = 300


class Overtime(Exception):
    pass


@dataclasses.dataclass
class Outcome:
    """What came of one scenario. `valid` is True, False, or None for unknown; `lines` say why."""

    valid: bool | None
    lines: list
    counts: dict = dataclasses.field(default_factory=dict)
    faults: dict = dataclasses.field(default_factory=dict)  # kind -> how many
    flips: dict = dataclasses.field(default_factory=dict)   # kind -> how many bits it turned over
    gaps: dict = dataclasses.field(default_factory=dict)    # kind -> seconds of each
    is_not_run: bool = False     # its time was over before the first fault

    @property
    def word(self):
        return "not run" if self.is_not_run else {True: "ok", False: "INVALID", None: "UNKNOWN"}[self.valid]

    def figures(self, scenario, options, seed, seconds):
        """What docs/RELIABILITY.md is made of."""
        return {"scenario": scenario.name, "size": options.set, "system": options.kind, "nodes": options.nodes,
                "settings": options.setting, "seed": seed, "seconds": round(seconds), "verdict": self.word, "faults": self.faults,
                "judged": bool(self.counts),  # else it broke off, and nobody knows what its faults did
                "kinds": sorted({*scenario.least, *self.faults}), "flips": self.flips, "gaps": self.gaps, "sends": {name: self.counts.get(f"sends {name}", 0) for name in ("ok", "unknown", "fail")},
                "reads": self.counts.get("rows poll", 0), "reasons": [] if self.valid else [kept(line) for line in self.lines[:5]],
                "anomalies": {name: self.counts[name] for name in histcheck.CLASSES if self.counts.get(name)}}


def kept(reason):
    """In one line, its end rather than its beginning, and without the folders of this machine: a page is to show it."""
    return " ".join(re.sub(r"/\S*/(?=node-\d)", "", reason).split())[-REASON_CHARACTERS_MAX:]


def run_one(scenario, options, folder, seed, deadline):
    count = options.count if options.count is not None else scenario.count(options.set)
    plan = {"acked_min": scenario.acked_min * (1 if options.set == "short" else 10) if options.count is None else scenario.acked_min,
            "unknown_share_max": 0.2, "faults": scenario.faults_min(count)}

    def overtime(*_):
        raise Overtime(f"not done within {limit} s")

    limit = (SCENARIO_SECONDS + count * FAULT_SECONDS_MAX) * PATIENCE[options.kind]
    signal.signal(signal.SIGALRM, overtime)
    signal.alarm(limit)
    cluster = run = None
    try:
        settings = {**scenario.cluster.get("settings", {}), **dict(pair.split("=", 1) for pair in options.setting)}
        cluster = Cluster(options.kind, folder, **{"nodes": options.nodes, **scenario.cluster, "settings": settings})
        cluster.start()
        run = Run(cluster, folder / "history", seed, plan, deadline)
        run.start(**scenario.load)
        done = scenario.steps(faults.Faults(run), count)
        if done < count and time.monotonic() > deadline:
            if done == 0:
                return Outcome(None, [], is_not_run=True)
            run.plan["faults"] = scenario.faults_min(done)
        verdict = run.finish()
        return Outcome(verdict.valid, list(verdict.lines()), verdict.counts, dict(collections.Counter(run.installed)),
                       dict(run.flips), gaps.gaps(histcheck.read([folder / "history"])))
    except (Exception, Overtime) as error:
        with open(folder / "error.txt", "w") as file:
            traceback.print_exc(file=file)
            if cluster:
                file.write(cluster.view())
        installed = dict(collections.Counter(run.installed)) if run else {}
        return Outcome(None, [f"{type(error).__name__}: {error}"], faults=installed)
    finally:
        signal.alarm(0)
        if run:
            run.close()
        elif cluster:
            cluster.close()


def main():
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__)
    parser.add_argument("set", choices=SIZES, help="short: what CI runs, minutes; nightly: two hours and more; soak: half a day")
    parser.add_argument("--kafka", dest="kind", action="store_const", const="kafka", default="moldau",
                        help="against Apache Kafka 4.3.0: what the harness itself is worth")
    parser.add_argument("--nodes", type=int, default=3, help="1: a node alone, for the faults that it can survive")
    parser.add_argument("--setting", action="append", default=[], metavar="KEY=VALUE", help="of the nodes; may be repeated")
    parser.add_argument("--only", action="append", default=[], help="scenarios with this in their names; may be repeated")
    parser.add_argument("--count", type=int, help="that many faults in each scenario")
    parser.add_argument("--seed", type=int, help="which faults at which times; printed by every run")
    parser.add_argument("--times", type=int, default=1, help="the whole set that often")
    parser.add_argument("--minutes", type=float, help="after so many no more faults, and no more scenarios")
    parser.add_argument("--figures", help="a file to which a line of JSON is added for each scenario")
    parser.add_argument("--keep", help="where histories and logs go; else those of failed scenarios stay in a folder that is named")
    options = parser.parse_args()
    if options.kind == "moldau" and not BINARY.exists():
        sys.exit(f"{BINARY} is not there: cargo build --release, or set MOLDAU_BINARY")
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    base = pathlib.Path(options.keep) if options.keep else pathlib.Path(tempfile.mkdtemp(prefix="moldau-chaos-"))
    print(f"seed {seed}, {options.kind}, load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"{'scenario':<25} {'verdict':<8} {'s':>5} {'acked':>7} {'unknown':>7} {'faults':>6}", flush=True)
    passed = failed = skipped = 0
    deadline = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
    chosen = [s for s in SCENARIOS if (not options.only or any(only in s.name for only in options.only))
              and (options.count or s.count(options.set))]
    for n, scenario in enumerate(chosen * options.times):
        if time.monotonic() > deadline:
            print(f"{scenario.name:<25} not run  {options.minutes:g} minutes are over", flush=True)
            continue
        why_not = scenario.why_not()
        if why_not:
            skipped += 1
            print(f"{scenario.name:<25} skipped  {why_not}", flush=True)
            continue
        folder = base / f"{n:02}-{scenario.name.replace(' ', '-').replace(',', '')}"
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        outcome = run_one(scenario, options, folder, seed + n, deadline)
        seconds = time.monotonic() - started
        if outcome.is_not_run:
            print(f"{scenario.name:<25} not run  {options.minutes:g} minutes are over", flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            continue
        if options.figures:
            with open(options.figures, "a") as file:
                file.write(json.dumps(outcome.figures(scenario, options, seed + n, seconds)) + "\n")
        print(f"{scenario.name:<25} {outcome.word:<8} {seconds:5.0f} {outcome.counts.get('sends ok', 0):7} "
              f"{outcome.counts.get('sends unknown', 0):7} {sum(outcome.faults.values()):6}", flush=True)
        for line in outcome.lines:
            print(f"    {line}", flush=True)
        if outcome.valid:
            passed += 1
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)
        else:
            failed += 1
            print(f"    histories and logs: {folder}; again: run.sh {options.set}"
                  f"{' --kafka' if options.kind == 'kafka' else ''} --only '{scenario.name}' --seed {seed + n}", flush=True)
    if not options.keep and not failed:
        shutil.rmtree(base, ignore_errors=True)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(0 if passed and not failed else 1)


if __name__ == "__main__":
    main()
