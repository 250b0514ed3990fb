"""What a run consists of. Each part runs one thing that is there without it, and says what that found, as records to keep."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import authorizer

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CHAOS = HERE.parent / "chaos"
SKIPPED = 77
# What ends a part that hangs.
SECONDS_MAX = {"ci": 3_600, "nightly": 6 * 3_600, "soak": 24 * 3_600}


class Skipped(Exception):
    """Why a part cannot run here."""


class Options:
    def __init__(self, size, minutes=None, chaos=()):
        self.size, self.minutes, self.chaos = size, minutes, list(chaos)

    def of(self, ci, nightly, soak):
        return {"ci": ci, "nightly": nightly, "soak": soak}[self.size]

    def set(self):
        return self.of("short", "nightly", "soak")


def run(options, command, **variables):
    """Its output, shown as it comes, and its exit code."""
    process = subprocess.Popen([str(part) for part in command], cwd=ROOT, env={**os.environ, **variables}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline, lines = time.monotonic() + SECONDS_MAX[options.size], []
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{command[0]} took longer than {SECONDS_MAX[options.size]} s")
        return "".join(lines), process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def with_figures(options, command):
    """The lines of JSON that a program wrote, and its exit code."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        output, code = run(options, [sys.executable, *command, "--figures", file.name])
        if code == SKIPPED:
            raise Skipped(output.strip().splitlines()[-1])
        return [json.loads(line) for line in pathlib.Path(file.name).read_text().splitlines()], code


def chaos(options):
    minutes = options.minutes or options.of(None, 110, 700)
    bound = ["--minutes", minutes] if minutes else []
    return with_figures(options, [CHAOS / "main.py", options.set(), *bound, *options.chaos])


def kafka(options):
    """The same harness against Apache Kafka, for the clocks."""
    count = options.of(3, 10, 20)
    chosen = [word for name in ("kill the leader", "kill the controller", "rolling restart") for word in ("--only", name)]
    return with_figures(options, [CHAOS / "main.py", options.set(), "--kafka", *chosen, "--count", count])


def clocks(options):
    samples = options.of(4, 20, 50)
    return with_figures(options, [CHAOS / "clocks.py", "--samples", samples, "--kafka", "--kafka-samples", options.of(2, 5, 20)])


def hostile(options):
    return with_figures(options, [HERE / "hostile.py", "--size", options.set()])


SEEDS = re.compile(r"^(\d+) seeds, (\d+) steps, (\d+) simulated seconds, (\d+) failed$", re.MULTILINE)
COVERAGE = re.compile(r"^ *(\d+)  (\w+)$", re.MULTILINE)
BUG = re.compile(r"^(\w+) +(\d+)  (?:not found|(\w+) \(seed \d+\))$", re.MULTILINE)
FAILED_SEED = re.compile(r"-- replay (\d+)$", re.MULTILINE)
# Behind the dots that cargo prints for tests that have passed, on the same line.
EXECUTIONS = re.compile(r"([a-z][a-z ]*): (\d+) executions")
CUTS = re.compile(r"power cut (\d+) times: (.+)$", re.MULTILINE)


def seeds_of(output, first):
    found = SEEDS.search(output)
    seeds, steps, seconds, failed = map(int, found.groups())
    return {"first": first, "seeds": seeds, "steps": steps, "simulated_seconds": seconds, "failed": failed,
            "failed_seeds": [int(seed) for seed in FAILED_SEED.findall(output)],
            "coverage": {name: int(count) for count, name in COVERAGE.findall(output)}}


def bugs_of(output):
    return [{"bug": bug, "seeds": int(seeds), "invariant": invariant or None} for bug, seeds, invariant in BUG.findall(output)]


def simulation(options):
    """Other seeds in every run; which ones is kept."""
    first, count = int(time.time()) % 10**9 * 1_000, options.of(500, 10_000, 100_000)
    output, code = run(options, ["cargo", "run", "-q", "--locked", "-p", "moldau-simulation", "--", "seeds", first, count])
    return [seeds_of(output, first)], code


def bugs(options):
    output, code = run(options, ["cargo", "run", "-q", "--locked", "-p", "moldau-simulation", "--", "bugs"])
    found = bugs_of(output)
    return [{"bugs": found}] if found else [], code


def cuts(options):
    records, codes = [], 0
    for named, command in (("partitions' logs", ["-p", "moldau-log", "--test", "log", "power_cut"]),
                           ("the Raft log", ["-p", "moldau-controller", "--lib", "power_cut"])):
        output, code = run(options, ["cargo", "test", "-q", "--locked", *command, "--", "--nocapture"],
                           MOLDAU_LOG_SEEDS=str(options.of(4, 50, 500)))
        # A test tells its cuts once all of them went well.
        if code:
            records.append({"what": named, "cuts": 0, "verdict": "FAILED"})
        else:
            records += [{"what": what, "cuts": int(count), "verdict": "ok"} for count, what in CUTS.findall(output)]
        codes |= code
    return records, codes


def fuzz(options):
    output, code = run(options, ["cargo", "test", "-q", "--locked", "-p", "moldau-broker", "--test", "hostile", "--", "--nocapture"],
                       MOLDAU_FUZZ_ITERATIONS=str(options.of(20_000, 1_000_000, 10_000_000)),
                       MOLDAU_FUZZ_SEED=str(int(time.time())))
    executions = {name.strip(): int(count) for name, count in EXECUTIONS.findall(output)}
    found = [{"executions": executions, "verdict": "ok" if code == 0 else "FAILED"}] if executions or code else []
    return found, code


COMPARED = re.compile(r"^(\d+) answers compared$", re.MULTILINE)


def table_of(page):
    """(rows, cells that are answers) of docs/AUTHORIZATION.md."""
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if re.match(r"\| \d+ \|", line)]
    return len(rows), sum(cell != "-" for row in rows for cell in row[3:])


def authorization(options):
    """Every API against every way to be allowed or not: what a broker answers is what the table says, and what Apache Kafka answers."""
    test = ["cargo", "test", "-q", "--locked", "-p", "moldau-tests", "--test", "authorization"]
    output, code = run(options, test)
    rows, cells = table_of((ROOT / "docs" / "AUTHORIZATION.md").read_text())
    record = {"rows": rows, "cells": cells, "verdict": "ok" if code == 0 else "FAILED"}
    if shutil.which("java") is None:
        return [record], code
    with tempfile.TemporaryDirectory(prefix="moldau-authorization-") as folder:
        peer = authorizer.start(folder)
        try:
            output, peer_code = run(options, [*test, "--", "--ignored", "--nocapture"], AUTHORIZATION_PEER=peer.bootstrap)
        finally:
            peer.stop()
    compared = COMPARED.search(output)
    record |= {"compared": int(compared.group(1)) if compared else 0, "peer_verdict": "ok" if peer_code == 0 else "FAILED"}
    return [record], code | peer_code


def containers(options):
    output, code = run(options, ["tests/containers_cluster.sh"])
    if code == SKIPPED:
        raise Skipped(output.strip().splitlines()[-1])
    return [{"count": 1, "verdict": "ok" if code == 0 else "FAILED"}], code


FROM = re.compile(r"^from (\w+) of \S+ to \S+$", re.MULTILINE)


def upgrade(options):
    """Rolls of all nodes from an earlier version to this one, and back, under load."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        output, code = run(options, ["tests/upgrade.sh", "--figures", file.name], UPGRADES=str(options.of(2, 20, 20)))
        if code == SKIPPED:
            raise Skipped(output.strip().splitlines()[-1])
        found = FROM.search(output)
        records = [json.loads(line) for line in pathlib.Path(file.name).read_text().splitlines()]
        return [{**record, "from": found.group(1) if found else "a binary that was there"} for record in records], code


PARTS = {"simulation": simulation, "bugs": bugs, "cuts": cuts, "hostile": hostile, "fuzz": fuzz, "authorization": authorization,
         "clocks": clocks, "kafka": kafka, "containers": containers, "upgrade": upgrade,
         "chaos": chaos}
# Under what the page looks for a part's records, where that is not its name.
KEPT_AS = {"kafka": "chaos", "cuts": "power cuts", "upgrade": "chaos"}
# What CI runs as stages of its own, or has no time for, is run when it is named.
OF_SIZE = {"ci": ("simulation", "bugs", "cuts", "hostile", "fuzz", "authorization", "chaos"),
           "nightly": tuple(PARTS), "soak": tuple(PARTS)}
