#!/usr/bin/env python3
"""Chaos on real processes: stock clients, faults, and a judge. See docs/TESTING.md, or `run.sh --help`."""

import argparse
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback

import faults
from cluster import BINARY, PATIENCE, Cluster
from harness import Run
from scenarios import SCENARIOS

# Bounds of one scenario, so that a set ends whatever happens: some for the start and the end, and some for each fault.
SCENARIO_SECONDS = 300
FAULT_SECONDS_MAX = 120


class Overtime(Exception):
    pass


def run_one(scenario, options, folder, seed):
    """(verdict, anomalies and reasons, counts, how many faults)."""
    is_long = options.set == "long"
    count = options.count if options.count is not None else scenario.long if is_long else scenario.short
    scale = 1 if options.count is None else 0
    plan = {"acked_min": scenario.acked_min * (10 if is_long else 1), "unknown_share_max": 0.2,
            "faults": {kind: least[is_long] * scale for kind, least in scenario.least.items()}}

    def overtime(*_):
        raise Overtime(f"not done within {limit} s")

    limit = (SCENARIO_SECONDS + count * FAULT_SECONDS_MAX) * PATIENCE[options.kind]
    signal.signal(signal.SIGALRM, overtime)
    signal.alarm(limit)
    cluster = run = None
    try:
        settings = {**scenario.cluster.get("settings", {}), **dict(pair.split("=", 1) for pair in options.setting)}
        cluster = Cluster(options.kind, folder, nodes=options.nodes, **{**scenario.cluster, "settings": settings})
        cluster.start()
        run = Run(cluster, folder / "history", seed, plan)
        run.start(**scenario.load)
        scenario.steps(faults.Faults(run), count)
        verdict = run.finish()
        return verdict.valid, list(verdict.lines()), verdict.counts
    except (Exception, Overtime) as error:
        with open(folder / "error.txt", "w") as file:
            traceback.print_exc(file=file)
            if cluster:
                file.write(cluster.view())
        return None, [f"{type(error).__name__}: {error}"], {}
    finally:
        signal.alarm(0)
        if run:
            run.close()
        elif cluster:
            cluster.close()


def main():
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__)
    parser.add_argument("set", choices=("short", "long"), help="short: about ten minutes; long: hours, 100 leader kills and more")
    parser.add_argument("--kafka", dest="kind", action="store_const", const="kafka", default="moldau",
                        help="against Apache Kafka 4.3.0: what the harness itself is worth")
    parser.add_argument("--nodes", type=int, default=3, help="1: a node alone, for the faults that it can survive")
    parser.add_argument("--setting", action="append", default=[], metavar="KEY=VALUE", help="of the nodes; may be repeated")
    parser.add_argument("--only", help="scenarios with this in their names")
    parser.add_argument("--count", type=int, help="that many faults in each scenario")
    parser.add_argument("--seed", type=int, help="which faults at which times; printed by every run")
    parser.add_argument("--times", type=int, default=1, help="the whole set that often")
    parser.add_argument("--keep", help="where histories and logs go; else those of failed scenarios stay in a folder that is named")
    options = parser.parse_args()
    if options.kind == "moldau" and not BINARY.exists():
        sys.exit(f"{BINARY} is not there: cargo build --release, or set MOLDAU_BINARY")
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    base = pathlib.Path(options.keep) if options.keep else pathlib.Path(tempfile.mkdtemp(prefix="moldau-chaos-"))
    print(f"seed {seed}, {options.kind}, load {os.getloadavg()[0]:.1f}", flush=True)
    print(f"{'scenario':<25} {'verdict':<8} {'s':>5} {'acked':>7} {'unknown':>7} {'faults':>6}", flush=True)
    passed = failed = skipped = 0
    chosen = [s for s in SCENARIOS if (not options.only or options.only in s.name)
              and (options.count or (s.long if options.set == "long" else s.short))]
    for n, scenario in enumerate(chosen * options.times):
        why_not = scenario.why_not()
        if why_not:
            skipped += 1
            print(f"{scenario.name:<25} skipped  {why_not}", flush=True)
            continue
        folder = base / f"{n:02}-{scenario.name.replace(' ', '-').replace(',', '')}"
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        valid, lines, counts = run_one(scenario, options, folder, seed + n)
        word = {True: "ok", False: "INVALID", None: "UNKNOWN"}[valid]
        print(f"{scenario.name:<25} {word:<8} {time.monotonic() - started:5.0f} {counts.get('sends ok', 0):7} "
              f"{counts.get('sends unknown', 0):7} {counts.get('rows fault', 0):6}", flush=True)
        for line in lines:
            print(f"    {line}", flush=True)
        if valid:
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
