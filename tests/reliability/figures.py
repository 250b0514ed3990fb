"""The figures of all runs, as they are kept between them: docs/reliability/figures.json."""

import datetime
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATH = ROOT / "docs" / "reliability" / "figures.json"
# Of one part; the oldest go first.
RECORDS_MAX = 150


def read(path=PATH):
    return json.loads(path.read_text()) if path.is_file() else {"parts": {}}


def write(kept, path=PATH):
    """One record a line, so that what a run added is what a diff shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = ",\n".join(f'  {json.dumps(part)}: [\n' + ",\n".join("   " + json.dumps(record, sort_keys=True) for record in records) + "\n  ]"
                       for part, records in sorted(kept["parts"].items()))
    path.write_text('{\n "machine": ' + json.dumps(kept.get("machine", "")) + ',\n "parts": {\n' + parts + "\n }\n}\n")


def add(kept, part, records):
    """Adds what a part of a run found, with when, of what and where."""
    stamp = {"date": datetime.date.today().isoformat(), "commit": commit()}
    there = kept["parts"].setdefault(part, [])
    there.extend({**record, **stamp} for record in records)
    del there[:-RECORDS_MAX]
    kept["machine"] = machine()


def commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=7"], cwd=ROOT, capture_output=True,
                          text=True, check=False)
    return done.stdout.strip() or "unknown"


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    memory_kib = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal")))
    return f"{os.cpu_count()} cores ({model}), {memory_kib / 1048576:.0f} GiB of memory, Linux {os.uname().release}"
