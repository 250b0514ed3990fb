#!/usr/bin/env python3
"""The comparison of tests/bench/run.sh: runs lines for both systems in turn, keeps the figures, writes the page.

Kafka acknowledges from the page cache, its default; Moldau after fdatasync, ours, unless a line says otherwise. Both run as
one node (three where a line says so) on loopback, with Kafka at -Xmx1G. Rounds alternate in who comes first; figures are
medians. Beside each line the machine's limit is probed in the same round, on the same disk. The figures of all lines stay in
docs/benchmarks/figures.json, so that the page can be made of several runs; a line that never ran reads `not run`."""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time

import page
import systems
from machine import machine
from limits import probe
from lines import REPLICATED, SECTIONS, lines
from session import Session
from systems import KINDS, ROOT

FIGURES = ROOT / "docs" / "benchmarks" / "figures.json"


def measure(line, session, options):
    """{system: {figure: [of each round]}}, the probe's as `limit`."""
    seen = {}
    # A replicated line has one system up at a time, for all of its rounds.
    turns = [(n, kind) for n in range(options.rounds) for kind in (KINDS if n % 2 else KINDS[::-1])]
    if line.section == REPLICATED:
        turns.sort(key=lambda turn: KINDS.index(turn[1]))
    if line.is_settled:
        session.settle()
    probed = set()
    for n, kind in turns:
        if line.limits and n not in probed:
            probed.add(n)
            write_back()
            keep(seen.setdefault("limit", {}), probe(line, session.folder, options))
        write_back()
        keep(seen.setdefault(kind, {}), line.run(session, kind, options))
    return seen


def write_back():
    """What Kafka leaves in the page cache is written for half a minute after its turn, and would be in the way of whoever syncs
    in the next one."""
    os.sync()


def keep(into, figures):
    for name, figure in figures.items():
        into.setdefault(name, []).append(round(figure, 4))


def commit():
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def parse_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="in `section: name`; may be given again")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--megabytes", type=int)
    parser.add_argument("--recovery-megabytes", type=int, help="the log that a kill -9 leaves to recover")
    parser.add_argument("--folder", help="where the logs are; the disk is part of what is measured")
    parser.add_argument("--no-build", action="store_true", help="takes what was built before")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    quick = options.quick
    options.rounds = options.rounds or (3 if quick else 5)
    options.megabytes = options.megabytes or (500 if quick else 2000)
    options.recovery_megabytes = options.recovery_megabytes or (1000 if quick else 10_000)
    options.latency_seconds = 6 if quick else 30
    options.topics = 50 if quick else 300
    return options


def main():
    options = parse_options()
    every = lines()
    wanted = [line for line in every
              if not options.only or any(word in f"{line.section}: {line.name}" for word in options.only)]
    if options.list:
        print("\n".join(f"{line.section}: {line.name}" for line in wanted))
        return 0
    kept = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {"lines": {}}
    failed = []
    if not options.page:
        systems.build(not options.no_build)
        failed = run(wanted, options, kept)
    page.write(kept, every, SECTIONS, ROOT / "docs")
    return 1 if failed else 0


def run(wanted, options, kept):
    started = time.monotonic()
    failed = []
    with tempfile.TemporaryDirectory(prefix="moldau-bench-", dir=options.folder) as folder:
        session = Session(folder)
        try:
            for number, line in enumerate(wanted):
                name = f"{line.section}: {line.name}"
                begun = time.monotonic()
                try:
                    seen = measure(line, session, options)
                except (RuntimeError, AssertionError, OSError, subprocess.SubprocessError) as error:
                    print(f"FAILED {name}: {error}", flush=True)
                    failed.append(name)
                    continue
                kept["lines"][name] = {**seen, "date": datetime.date.today().isoformat(), "commit": commit(),
                                       "rounds": options.rounds, "load": "quick" if options.quick else "full"}
                kept["machine"] = machine()
                FIGURES.parent.mkdir(parents=True, exist_ok=True)
                FIGURES.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
                row = page.judge(line, kept["lines"][name])
                print(f"[{number + 1}/{len(wanted)}, {time.monotonic() - begun:.0f} s] {name}: {row.text()}", flush=True)
        finally:
            session.close()
    print(f"{len(wanted) - len(failed)} lines in {(time.monotonic() - started) / 60:.1f} minutes, {len(failed)} failed; "
          f"load {os.getloadavg()[0]:.1f} at the end")
    return failed


if __name__ == "__main__":
    sys.exit(main())
