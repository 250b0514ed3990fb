#!/usr/bin/env python3
"""Instructions of the hot paths, compared with the committed baseline: what a busy machine does not change.

    python3 tests/bench/instructions.py            compares, fails where a case needs more than 5 % more
    python3 tests/bench/instructions.py --renew    writes the baseline anew
    python3 tests/bench/instructions.py --top produce_tiny    the functions that a case spends most in

tests/examples/instructions does the cases under valgrind's callgrind, in a release build that shares everything with the
broker's. Callgrind simulates the same processor everywhere (with AVX2 where the machine has it, so that memcpy and the
checksums choose the same code on all machines of the last ten years). What stays: the C library is the machine's, maps
have a seed of their own in each process, and once in a while a lock is taken just then; all that is below three percent.
Standard library alone."""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASELINE = pathlib.Path(__file__).resolve().with_name("instructions.txt")
REGRESSION = 0.05
MINUTES_MAX = 5
CASE = "instructions::measured::"


def build():
    # Beside the package of the binary, so that the features are those of the release build and nothing is built twice.
    command = ["cargo", "build", "--release", "--locked", "-q", "-p", "moldau", "-p", "moldau-tests",
               "--example", "instructions"]
    subprocess.run(command, cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "examples" / "instructions"


def profile(binary):
    """{function: instructions of its own}, {function: with what it calls}, and how often each case was done."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "profile"
        # Valgrind runs one thread at a time; by its own choice of the next one it may starve the one that is waited for.
        command = ["valgrind", "--quiet", "--fair-sched=yes", "--tool=callgrind", f"--callgrind-out-file={out}", "--collect-atstart=no",
                   f"--toggle-collect={CASE}*", str(binary)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES_MAX)
        if done.returncode:
            raise SystemExit(f"the cases failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        times = {name: int(count) for name, count in (line.split() for line in done.stdout.splitlines())}
        return *parse(out.read_text()), times


def parse(text):
    """Callgrind's format: `fn=(id) name`, then lines of costs; the line behind `calls=` is what the call cost in all."""
    names, own, total, calls = {}, {}, {}, {}
    function, is_call, callee = None, False, None

    def named(entry):
        number, _, name = entry.partition(" ")
        if name:
            names[number] = name
        return names[number]

    for line in text.splitlines():
        if line.startswith("fn="):
            function = named(line[3:])
        elif line.startswith("cfn="):
            callee = named(line[4:])
        elif line.startswith("calls="):
            is_call = True
        elif function and re.match(r"[+\-*\d]", line):
            cost = int(line.split()[-1])
            total[function] = total.get(function, 0) + cost
            if is_call:
                calls[function, callee] = calls.get((function, callee), 0) + cost
                is_call = False
            else:
                own[function] = own.get(function, 0) + cost
    return own, total, calls


def counted(total, times):
    figures = {}
    for name, count in times.items():
        if f"{CASE}{name}" not in total:
            raise SystemExit(f"the profile has no case {name}")
        figures[name] = round(total[f"{CASE}{name}"] / count)
    return figures


def read_baseline():
    lines = [line.split() for line in BASELINE.read_text().splitlines() if line and not line.startswith("#")]
    return {name: int(figure) for name, figure in lines}


def write_baseline(figures):
    text = "# Instructions of one operation; written by tests/bench/instructions.py --renew.\n"
    BASELINE.write_text(text + "".join(f"{name:<24} {figure:>9}\n" for name, figure in figures.items()))


def compare(figures, baseline):
    """The names of the cases that are no longer as good as they were."""
    worse = []
    print(f"{'case':<24} {'baseline':>9} {'now':>9} change")
    for name, figure in figures.items():
        if name not in baseline:
            print(f"{name:<24} {'-':>9} {figure:>9} not in the baseline: --renew")
            continue
        change = figure / baseline[name] - 1
        print(f"{name:<24} {baseline[name]:>9} {figure:>9} {change:+7.1%}{'  WORSE' if change > REGRESSION else ''}")
        if change > REGRESSION:
            worse.append(name)
    worse += [name for name in baseline if name not in figures]
    return worse


def print_top(name, own, calls):
    """What a case's functions cost themselves. A function that several cases call counts with what all of them spent in it,
    so only those that this one reaches are shown, the most expensive first."""
    reached, new = set(), {f"{CASE}{name}"}
    while new:
        reached |= new
        new = {callee for (caller, callee) in calls if caller in new} - reached
    for function in sorted(reached, key=lambda function: -own.get(function, 0))[:40]:
        print(f"{own.get(function, 0):>12} {function[:150]}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--renew", action="store_true")
    parser.add_argument("--top", metavar="CASE")
    parser.add_argument("--binary", help="one that is built already")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed (tests/setup.sh)")
        return 77
    binary = options.binary or build()
    own, total, calls, times = profile(binary)
    figures = counted(total, times)
    if options.top:
        print_top(options.top, own, calls)
        return 0
    if options.renew:
        write_baseline(figures)
        print(BASELINE.read_text(), end="")
        return 0
    baseline = read_baseline()
    worse = compare(figures, baseline)
    if worse:
        # Once more: a count that was disturbed comes back, a path that became longer does not.
        _, total, _, times = profile(binary)
        again = counted(total, times)
        worse = compare({name: min(figure, again.get(name, figure)) for name, figure in figures.items()}, baseline)
    if worse:
        print(f"\nerror: more than {REGRESSION:.0%} above the baseline, or no longer there: {', '.join(worse)}.\n"
              "Where that is wanted: tests/bench/instructions.py --renew, and say why in the commit.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
