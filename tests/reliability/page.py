"""docs/RELIABILITY.md, from the figures that were kept: nothing is on it that no run has found."""

import collections
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "chaos"))
from histcheck import CLASSES  # noqa: E402

from matrix import FAULTS, POWER  # noqa: E402

NOT_RUN = "not run"
PARTLY = "in part"
HEAD = """# Reliability

What Moldau was put through, and what came of it, written by `tests/reliability/run.sh` and by nobody's hand. Every number is the sum
of the runs that are kept in `docs/reliability/figures.json`; what no run has found reads `not run`. A run that failed counts
until its scenario has passed with the same seed, or somebody takes it out by `--anew`. [TESTING.md](TESTING.md) says how faults are installed, proved and judged.
"""


def number(value):
    if isinstance(value, float) and value < 100:
        return f"{value:.2f}" if value < 10 else f"{value:.1f}"
    return f"{round(value):,}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]) + "\n"


def percentiles(seconds):
    """median / p99 / longest."""
    if not seconds:
        return ""
    ordered = sorted(seconds)
    picked = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], ordered[-1]
    return " / ".join(f"{value:.2f}" for value in picked)


def passed_later(run, later):
    """The run by which one that did not pass is made good: the same faults by the same seed."""
    if run["verdict"] == "ok":
        return None
    return next((r for r in later if r["verdict"] == "ok" and all(r[key] == run[key] for key in ("scenario", "size", "seed"))), None)


class Scores:
    """What the kept records say."""

    def __init__(self, kept):
        self.parts = collections.defaultdict(list, kept.get("parts", {}))
        # A run with other settings than the defaults, or of another system, says nothing of what is promised.
        runs = [r for r in self.parts["chaos"] if r["system"] == "moldau" and not r["settings"] and r["nodes"] == 3]
        self.mended = [(r, passed) for at, r in enumerate(runs) if (passed := passed_later(r, runs[at + 1:]))]
        self.chaos = [r for r in runs if not any(r is failed for failed, _ in self.mended)]

    @staticmethod
    def is_judged(run):
        """Whether somebody looked for what its faults did. One that broke off counts for nothing but its failure."""
        return run.get("judged", run["sends"]["ok"] > 0)

    def chaos_of(self, kinds):
        return [r for r in self.chaos if set(kinds) & set(r["kinds"])]

    def count_of(self, kind, field="faults"):
        return sum(r[field].get(kind, 0) for r in self.chaos if self.is_judged(r))

    def chaos_count(self, fault):
        field = "flips" if fault.counts_bits else "faults"
        return sum(self.count_of(kind, field) for kind in fault.kinds) // fault.per

    def installed(self, kinds):
        return sum(map(self.count_of, kinds))

    def not_yet(self, fault):
        """Its kinds that no run has played to its end."""
        return [kind for kind in fault.kinds if not self.count_of(kind)]

    def simulated(self, names):
        return sum(r["coverage"].get(name, 0) for r in self.parts["simulation"] for name in names)

    def part(self, fault):
        """(how many, whether all went well) of a fault that is counted by another part."""
        if fault.part == "raft":
            records = [r for r in self.parts["power cuts"] if r["what"] == "the Raft log"]
            return sum(r["cuts"] for r in records), all(r["verdict"] == "ok" for r in records)
        if fault.part in ("hostile", "few files"):
            rows = [row for r in self.parts["hostile"] for row in r["attacks"] if (row["attack"] == "few files") == (fault.part != "hostile")]
            return len(rows), all(row["verdict"] == "ok" for row in rows)
        if fault.part == "mixed":
            records = [r for r in self.chaos if r["scenario"] == "all of it"]
            return sum(r["seconds"] for r in records) // 60, all(r["verdict"] == "ok" for r in records)
        if fault.part == "simulation":
            records = self.parts["simulation"]
            return sum(r["seeds"] for r in records), not any(r["failed"] for r in records)
        records = self.parts[fault.part]
        return sum(r["count"] for r in records), all(r["verdict"] == "ok" for r in records)

    def is_played_beside(self, fault):
        return bool(fault.beside and self.parts[fault.beside])

    def fault(self, fault):
        """(how many, verdict). What the simulation did beside it is no verdict of its own."""
        if fault.part:
            count, is_well = self.part(fault)
        else:
            count = self.chaos_count(fault)
            is_well = all(r["verdict"] == "ok" for r in self.chaos_of(fault.kinds) + self.parts[fault.beside])
        if not is_well:
            return count, "**fail**"
        return count, (PARTLY if self.not_yet(fault) else "pass") if count else NOT_RUN

    def gaps(self, kinds, system="moldau"):
        return [seconds for r in self.parts["chaos"] if r["system"] == system and not r["settings"] and r["nodes"] == 3
                for kind in kinds for seconds in r["gaps"].get(kind, [])]


def faults(scores):
    rows = []
    for fault in FAULTS:
        count, verdict = scores.fault(fault)
        simulated = scores.simulated(fault.simulated) if fault.simulated else 0
        without = [fault.without] if fault.without and not scores.is_played_beside(fault) else []
        if count and scores.not_yet(fault):
            without.append("not yet: " + ", ".join(scores.not_yet(fault)))
        rows.append([f"F{fault.number}", fault.title, number(count) if count else "", number(fault.wanted), verdict,
                     number(simulated) if simulated else "", percentiles(scores.gaps(fault.kinds)), "; ".join(without)])
    return table(["", "fault", "how often", "wanted", "", "and simulated", "longest gap, s: median / p99 / longest", "not played"], rows)


def scenarios(scores):
    rows = []
    for name in dict.fromkeys(r["scenario"] for r in scores.chaos):
        runs = [r for r in scores.chaos if r["scenario"] == name]
        sends = collections.Counter()
        for r in runs:
            sends.update(r["sends"])
        bad = sum(r["verdict"] != "ok" for r in runs)
        judged = [r for r in runs if scores.is_judged(r)]
        found = sum(sum(r["anomalies"].values()) for r in judged) if judged else "not judged"
        rows.append([name, len(runs), number(sum(sum(r["faults"].values()) for r in judged)), number(sends["ok"]), number(sends["unknown"]),
                     number(sum(r["reads"] for r in runs)), found, f"**{bad}**" if bad else 0])
    head = ["scenario", "runs", "faults", "acknowledged", "of unknown outcome", "reads", "anomalies", "runs that did not pass"]
    return table(head, rows) if rows else f"{NOT_RUN}\n"


def upgrades(scores):
    """By which versions, and how far: a roll is one of all nodes."""
    runs = collections.defaultdict(list)
    for r in scores.chaos:
        if "from" in r and scores.is_judged(r):
            runs[r["from"], r["commit"]].append(r)
    rows = []
    for (old, new), found in runs.items():
        up, back = (sum(r["faults"].get(kind, 0) // r["nodes"] for r in found) for kind in ("upgrade", "downgrade"))
        rows.append([old, new, number(up), number(back), number(sum(r["sends"]["ok"] for r in found)),
                     sum(sum(r["anomalies"].values()) for r in found)])
    head = ["from", "to", "rolls up", "rolls back", "acknowledged", "anomalies"]
    return table(head, rows) if rows else f"{NOT_RUN}\n"


def failures(scores):
    lines = [f"- {r['scenario']}, seed {r['seed']}, {r['date']} at {r['commit']}: {r['verdict']}. {' '.join(r['reasons'])[:300]}"
             for r in scores.chaos if r["verdict"] != "ok"]
    mended = [f"- {r['scenario']}, seed {r['seed']}, {r['date']} at {r['commit']}: {r['verdict']}, {sum(r['anomalies'].values())} anomalies. "
              f"Passed {passed['date']} at {passed['commit']}." for r, passed in scores.mended]
    texts = [("What did not pass", lines), ("What did not pass, and has passed since with the same seed; it counts no more", mended)]
    return "".join("\n".join([f"\n{title}:\n", *found]) + "\n" for title, found in texts if found)


def anomalies(scores):
    if not scores.chaos:
        return f"{NOT_RUN}\n"
    return table(["anomaly", "found", "what it is"], [[name, sum(r["anomalies"].get(name, 0) for r in scores.chaos), text]
                                                       for name, text in CLASSES.items()])


def clocks(scores):
    records = scores.parts["clocks"]
    # Ours first; and sorted, for the file sorts as well, and the page is to be the same before and behind it.
    systems = sorted({name for r in records for name in r["systems"]}, key=lambda name: (name != "Moldau", name))
    if not systems:
        return f"{NOT_RUN}\n"
    rows = []
    for row in sorted({row for r in records for system in r["systems"].values() for row in system["rows"]}, key=str.lower):
        cells = []
        for system in systems:
            seconds = [s for r in records for s in r["systems"].get(system, {}).get("rows", {}).get(row, [])]
            cells.append(f"{percentiles(seconds)} ({len(seconds)})" if seconds else NOT_RUN)
        rows.append([row, *cells])
    return table(["seconds: median / p99 / longest (samples)", *systems], rows)


def beside_kafka(scores):
    rows = []
    for r in scores.parts["chaos"]:
        if r["system"] == "kafka":
            for kind in r["gaps"]:
                rows.append(kind)
    rows = [[kind, *(f"{percentiles(found)} ({len(found)})" if found else NOT_RUN
                     for found in (scores.gaps((kind,)), scores.gaps((kind,), "kafka")))] for kind in dict.fromkeys(rows)]
    return table(["longest gap of any partition, s", "Moldau", "Apache Kafka 4.3.0"], rows) if rows else ""


def simulation(scores):
    records = scores.parts["simulation"]
    if not records:
        return f"{NOT_RUN}\n"
    seeds, steps, seconds, failed = (sum(r[name] for r in records) for name in ("seeds", "steps", "simulated_seconds", "failed"))
    return (f"{number(seeds)} seeds, {number(steps)} steps, {number(seconds / 3600)} simulated hours of a cluster of three controllers and "
            f"five brokers, {failed} failed. `cargo run -p moldau-simulation -- replay SEED` plays one again.\n")


def bugs(scores):
    if not scores.parts["bugs"]:
        return f"Seeded bugs: {NOT_RUN}.\n"
    last = scores.parts["bugs"][-1]
    found = [bug for bug in last["bugs"] if bug["invariant"]]
    rows = [[bug["bug"], bug["seeds"], bug["invariant"] or "**not found**"] for bug in last["bugs"]]
    text = f"Bugs that are switched on to see that they would be found: {len(found)} of {len(rows)} caught ({last['date']} at {last['commit']}).\n\n"
    return text + table(["seeded bug", "seeds until it was found", "by"], rows)


def power_cuts(scores):
    totals = collections.Counter()
    for r in scores.parts["power cuts"]:
        totals[r["what"]] += r["cuts"]
    return table(["what is cut off", "cuts"], [[what, number(cuts)] for what, cuts in totals.items()]) if totals else f"{NOT_RUN}\n"


def fuzz(scores):
    totals, panics = collections.Counter(), 0
    for r in scores.parts["fuzz"]:
        totals.update(r["executions"])
        panics += r["verdict"] != "ok"
    if not totals:
        return f"{NOT_RUN}\n"
    rows = [[target, number(executions)] for target, executions in totals.items()]
    return table(["target", "executions"], rows) + f"\n{number(sum(totals.values()))} in all, {panics} runs failed.\n"


def hostile(scores):
    if not scores.parts["hostile"]:
        return f"{NOT_RUN}\n"
    rows, peak = {}, max(r["peak_mb"] for r in scores.parts["hostile"])
    for r in scores.parts["hostile"]:
        for row in r["attacks"]:
            rows.setdefault(row["attack"], []).append(row)
    cells = [[attack, number(sum(row["count"] for row in runs)), runs[-1]["of"], max(row.get("peak_mb", 0) for row in runs),
              "pass" if all(row["verdict"] == "ok" for row in runs) else "**fail**"] for attack, runs in rows.items()]
    last = scores.parts["hostile"][-1]
    kills = sum(r["kills"] for r in scores.parts["hostile"])
    return (f"One node in a control group of {last['limit_mb']} MiB: {kills} kills, {peak} MB resident at the most.\n\n"
            + table(["attack", "how often", "of", "peak by then, MB", ""], cells))


def authorization(scores):
    if not scores.parts["authorization"]:
        return f"{NOT_RUN}\n"
    last = scores.parts["authorization"][-1]
    text = (f"{number(last['cells'])} answers in the table of [AUTHORIZATION.md](AUTHORIZATION.md), {last['rows']} rows of all APIs that are "
            f"served; asked of a real broker again on {last['date']} at {last['commit']}: {the_same(last['verdict'])}.")
    beside = [record for record in scores.parts["authorization"] if "compared" in record]
    if not beside:
        return f"{text} Beside Apache Kafka: {NOT_RUN}.\n"
    last = beside[-1]
    return (f"{text}\n\nApache Kafka 4.3.0 was asked the same on {last['date']} at {last['commit']}, where it can be: "
            f"{number(last['compared'])} answers compared, {the_same(last['peer_verdict'])}.\n")


def the_same(verdict):
    return "all the same" if verdict == "ok" else "**not the same**"


def summary(scores):
    bugs_found = scores.parts["bugs"][-1]["bugs"] if scores.parts["bugs"] else []
    verdicts = collections.Counter(scores.fault(fault)[1].replace("**", "") for fault in FAULTS)
    by_number = {fault.number: fault for fault in FAULTS}
    anomalies_found = sum(sum(r["anomalies"].values()) for r in scores.chaos)
    executions = sum(sum(r["executions"].values()) for r in scores.parts["fuzz"])
    hostile_runs = scores.parts["hostile"]

    def cell(value):
        return number(value) if value else NOT_RUN

    rows = [
        ["fault numbers", ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()), f"{len(FAULTS)} pass"],
        ["records acknowledged under faults", cell(sum(r["sends"]["ok"] for r in scores.chaos)), ""],
        ["anomalies: lost, duplicated, reordered and all others", anomalies_found if scores.chaos else NOT_RUN, "0"],
        ["leaders killed", cell(scores.fault(by_number[1])[0]), "500"],
        ["rolling restarts", cell(scores.fault(by_number[2])[0]), "60"],
        ["losses of power", cell(scores.installed(POWER)), "400"],
        ["seeds simulated", cell(scores.fault(by_number[29])[0]), "10,000"],
        ["seeded bugs caught", f"{sum(bool(b['invariant']) for b in bugs_found)} of {len(bugs_found)}" if bugs_found else NOT_RUN, "all, 20 at least"],
        ["fuzz executions", cell(executions), ""],
        ["kills under hostile input with 512 MiB", sum(r["kills"] for r in hostile_runs) if hostile_runs else NOT_RUN, "0"],
        ["peak memory under hostile input, MB", cell(max((r["peak_mb"] for r in hostile_runs), default=0)), "512"],
    ]
    return table(["", "so far", "wanted"], rows)


def when(kept):
    stamps = collections.defaultdict(set)
    # As the file has them: a part that is kept for the first time is last in memory.
    for _, records in sorted(kept["parts"].items()):
        for r in records:
            stamps[r["commit"]].add(r["date"])
    runs = "; ".join(f"{commit} ({', '.join(sorted(dates))})" for commit, dates in stamps.items())
    return f"\n{kept['machine']}. Runs were of {runs}.\n" if runs else ""


def text(kept):
    scores = Scores(kept)
    sections = [
        ("The score", summary(scores) + when(kept)),
        ("The fault matrix", "The gap is the longest time after a fault in which a partition acknowledged nothing to stock clients: of the partition "
         "that waited longest, and with sessions of 3 s. A run that broke off counts for nothing but its failure. *And simulated* is how often the simulation did the same to its clusters.\n\n"
         + faults(scores)),
        ("Scenarios on real processes", "A run does not pass if it found an anomaly, and neither if a fault was not really installed, too little was "
         "acknowledged, a fifth of the outcomes is unknown, a client broke, or a partition was not read again at the end.\n\n"
         + scenarios(scores) + failures(scores)),
        ("Upgrades", "Three nodes, one after the other, from an earlier version's binary to this one's and back, under load "
         "(`tests/upgrade.sh`).\n\n" + upgrades(scores)),
        ("Anomalies", anomalies(scores)),
        ("Failover clocks", "From the fault to the next acknowledgement, by a stock client, with defaults but where a column says otherwise "
         "(`tests/chaos/run.sh clocks`); and, where there is one, a table of the scenarios above, with sessions of 3 s for both.\n\n" + clocks(scores) + ("\n" + beside_kafka(scores) if beside_kafka(scores) else "")),
        ("Simulation", simulation(scores) + "\n" + bugs(scores)),
        ("Power cut at every write", power_cuts(scores)),
        ("Hostile input", hostile(scores)),
        ("Fuzz", fuzz(scores)),
        ("Authorisation", authorization(scores)),
    ]
    return HEAD + "".join(f"\n## {title}\n\n{body}" for title, body in sections)


def write(kept, docs):
    (docs / "RELIABILITY.md").write_text(text(kept))
