"""The figures of all runs, as they are kept between them: docs/reliability/figures.json."""

import datetime
import functools
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "bench"))
from machine import machine  # noqa: E402

PATH = ROOT / "docs" / "reliability" / "figures.json"
# Of one part; of those that went well the oldest go first. What did not stays until somebody takes it out.
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
    well = [place for place, record in enumerate(there) if record.get("verdict", "ok") == "ok" and not record.get("failed")]
    for place in reversed(well[:max(0, len(there) - RECORDS_MAX)]):
        del there[place]
    kept["machine"] = machine()


@functools.cache
def commit():
    """Once for a run: what it keeps makes the tree another one."""
    done = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=7"], cwd=ROOT, capture_output=True,
                          text=True, check=False)
    return done.stdout.strip() or "unknown"


