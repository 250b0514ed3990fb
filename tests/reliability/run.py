"""Runs the parts, keeps what they found, writes the page. See run.sh."""

import argparse
import json
import pathlib
import subprocess
import sys
import time

import figures
import page
import parts


def parse():
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(prog="run.sh")
    parser.add_argument("size", choices=("ci", "nightly", "soak", "page"))
    parser.add_argument("--only", action="append", default=[], choices=parts.PARTS)
    parser.add_argument("--anew", action="store_true", help="forget what earlier runs of these parts found")
    parser.add_argument("--minutes", type=float, help="of chaos")
    parser.add_argument("--add", action="append", default=[], metavar="FILE", help="what tests/chaos/run.sh --figures FILE has kept, of this commit")
    options = parser.parse_args(arguments[:split])
    options.chaos = arguments[split + 1:]
    return options


def part_of(record):
    """Which part has found a record of those that are kept as chaos."""
    if record["system"] == "kafka":
        return "kafka"
    return "upgrade" if "from" in record else "chaos"


def forget(kept, name):
    """Several parts' runs are kept side by side: only those of the part itself go."""
    key = parts.KEPT_AS.get(name, name)
    kept["parts"][key] = [record for record in kept["parts"].get(key, []) if key == "chaos" and part_of(record) != name]


def keep(name, records, anew=False):
    """Adds to what is kept by now: another run may have added to it since this one began."""
    kept = figures.read()
    if anew:
        forget(kept, name)
    figures.add(kept, parts.KEPT_AS.get(name, name), records)
    figures.write(kept)
    page.write(kept, figures.ROOT / "docs")


def main():
    options = parse()
    report, failed = [], False
    chosen = [] if options.size == "page" else [name for name in parts.PARTS if name in (options.only or parts.OF_SIZE[options.size])]
    for path in options.add:
        keep("chaos", [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()])
    for name in chosen:
        print(f"== {name}", flush=True)
        started = time.monotonic()
        try:
            records, code = parts.PARTS[name](parts.Options(options.size, options.minutes, options.chaos))
            # After each: a run that is interrupted has found what it has found.
            keep(name, records, options.anew)
            verdict = "passed" if code == 0 and records else "FAILED"
        except parts.Skipped as why_not:
            verdict = f"skipped: {why_not}"
        # AttributeError: the output had no line of results. AssertionError and SubprocessError: a peer that did not start.
        except (OSError, AttributeError, ValueError, AssertionError, subprocess.SubprocessError) as error:
            verdict = f"FAILED: {type(error).__name__}: {error}"
        failed |= verdict.startswith("FAILED")
        report.append(f"{name:<14} {verdict:<8} {(time.monotonic() - started) / 60:5.1f} min")
    page.write(figures.read(), figures.ROOT / "docs")
    print("== parts", *report, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
