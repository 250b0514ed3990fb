"""docs/BENCHMARKS.md and its plots, from the figures that were kept."""

import dataclasses
import statistics

import plot
from lines import LATENCY, MORE_IS_BETTER

UNITS = {"mb_s": "MB/s", "requests_s": "requests/s", "per_s": "topics/s", "cpu_s_gb": "server CPU, s/GB",
         "cpu_us": "server CPU, µs/request", "p50_ms": "p50, ms", "p90_ms": "p90, ms", "p99_ms": "p99, ms",
         "p99.9_ms": "p99.9, ms", "ms": "ms", "mb": "MB", "kb": "KB"}
# A line that falls short is the machine's when it is so near its limit.
NEAR = 1.5
HEAD = """# Benchmarks

Moldau beside Apache Kafka 4.3.0 on one machine, each line in one run, written by `tests/bench/run.sh` and by nobody's hand. Moldau
acknowledges acks=all after fdatasync, Kafka with its page-cache default, unless a line says otherwise; Kafka has -Xmx1G. Both
run on loopback, with the load generator on the same processors (`tests/examples/load`, which encodes a frame once and sends it
over and over). The systems take turns, and so does who comes first; figures are the medians of all rounds.

*Times better* is how much more or how much less that is than Kafka's, so that more is always better; *wanted* is what it has to
be. *The machine's limit* comes from a probe in the same rounds, which does the least that any broker has to do, without one: one
thread receives as much of the same batches over loopback, sums, writes and syncs them as often as five requests in flight let it, or
leaves the syncs to a second thread, and each figure is that of the better way; or it
sends a file from the page cache with sendfile; for 1,000 partitions it syncs as many files one after the other. Compressed batches
it unpacks, too, by the fastest library of the codec. A request for several partitions it cuts into as many pieces for as many
files, and syncs those, or one file more that has all of it and the others once at the end, whichever is better. For each
transaction of twenty requests it syncs three small appends more, each when the client asks for it and the one before is durable:
its partitions, that it commits, and its marker. The limit of latency is what the same load takes with a bare server, one thread of
which receives, sums and writes while another syncs, answers and hands on to the consumer. That of catching up has the
same beside a file that sendfile takes from the disk, not the page cache. That of replication has three such servers: one writes,
hands on to two others that write and sync, syncs as well, and answers when all three have; the processor's time is that of all
three.

*From the limit* is how far Moldau is from it. A figure is *met*; or *at the limit*, where it falls short and is within 1.5 times of
what the probe could do; or *short*. Lines of uncompressed batches, produced and fetched, have to be so near in any case: else they
are *far from the limit*.
"""


@dataclasses.dataclass
class Row:
    line: object
    cells: list  # of dictionaries: figure, kafka, moldau, better, wanted, limit, distance, verdict

    def text(self):
        parts = []
        for cell in self.cells:
            wanted = f" of {cell['wanted']:g}" if cell["wanted"] else ""
            limit = f", {cell['distance']:.2f} from the limit" if cell["distance"] else ""
            parts.append(f"{UNITS[cell['figure']]} {number(cell['kafka'])} -> {number(cell['moldau'])} "
                         f"({cell['better']:.2f}{wanted} times{limit}) {cell['verdict']}")
        return "; ".join(parts)


def number(value):
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def judge(line, kept):
    cells = []
    for figure in kept["moldau"]:
        kafka, ours = (statistics.median(kept[kind][figure]) for kind in ("kafka", "moldau"))
        more = figure in MORE_IS_BETTER
        # Less than a clock tick, or less memory than a page: nothing to divide by.
        better = (ours / kafka if more else kafka / ours) if kafka > 0 and ours > 0 else float("inf" if ours <= 0 < kafka else 1)
        wanted = line.targets.get(figure)
        limit = distance = None
        # Of an earlier run there may be another probe's figures.
        probed = kept.get("limit", {}).get(line.limits.get(figure))
        if probed:
            limit = statistics.median(probed)
            if limit > 0 and ours > 0:
                distance = limit / ours if more else ours / limit
        cells.append({"figure": figure, "kafka": kafka, "moldau": ours, "better": better, "wanted": wanted, "limit": limit,
                      "distance": distance, "verdict": verdict(better, wanted, distance, line.near)})
    return Row(line, cells)


def verdict(better, wanted, distance, has_to_be_near):
    is_near = distance is not None and distance <= NEAR
    if wanted is None:
        return ""
    if better < wanted:
        return "at the limit" if is_near else "**short**"
    if has_to_be_near and not is_near:
        return "met, **far from the limit**"
    return "met"


def table(section, lines, kept):
    text = [f"\n## {section}\n", "| line | figure | Kafka | Moldau | times better | wanted | the machine's limit | from the limit | |",
            "|---|---|---|---|---|---|---|---|---|"]
    for line in lines:
        entry = kept["lines"].get(f"{line.section}: {line.name}")
        if entry is None:
            text.append(f"| {line.name} | | | | | | | | not run |")
            continue
        for index, cell in enumerate(judge(line, entry).cells):
            wanted = f"{cell['wanted']:g}" if cell["wanted"] else ""
            distance = f"{cell['distance']:.2f}" if cell["distance"] else ""
            limit = number(cell["limit"]) if cell["limit"] else ""
            name = line.name if index == 0 else ""
            text.append(f"| {name} | {UNITS[cell['figure']]} | {number(cell['kafka'])} | {number(cell['moldau'])} "
                        f"| {cell['better']:.2f} | {wanted} | {limit} | {distance} | {cell['verdict']} |")
    return "\n".join(text) + "\n"


def plots(section, lines, kept, folder):
    """Writes the section's plots, and gives their links."""
    entries = [(line, kept["lines"].get(f"{line.section}: {line.name}")) for line in lines]
    entries = [(line, entry) for line, entry in entries if entry]
    if not entries:
        return ""
    slug = section.lower().replace(" ", "-")
    links = []
    if section == LATENCY:
        names = ["p50_ms", "p90_ms", "p99_ms", "p99.9_ms"]
        curves = [(f"{kind} {line.name}", kind, [statistics.median(entry[kind][name]) for name in names])
                  for line, entry in entries for kind in ("kafka", "moldau")]
        curves += [(f"limit {line.name}", "limit", [statistics.median(entry["limit"][line.limits[name]]) for name in names])
                   for line, entry in entries if all(line.limits[name] in entry.get("limit", {}) for name in names)]
        (folder / f"{slug}.svg").write_text(plot.curves("End-to-end latency, ms", [name[:-3] for name in names], curves))
        links.append(f"![{section}](benchmarks/{slug}.svg)")
    else:
        for figure in dict.fromkeys(figure for _, entry in entries for figure in entry["moldau"]):
            groups = []
            for line, entry in entries:
                if figure in entry["moldau"]:
                    cell = next(cell for cell in judge(line, entry).cells if cell["figure"] == figure)
                    groups.append((line.name, [("kafka", cell["kafka"]), ("moldau", cell["moldau"]), ("limit", cell["limit"])]))
            name = f"{slug}-{figure.replace('.', '')}.svg"
            (folder / name).write_text(plot.bars(f"{section}: {UNITS[figure]}", groups))
            links.append(f"![{section}: {UNITS[figure]}](benchmarks/{name})")
    return "\n" + "\n\n".join(links) + "\n"


def summary(every, kept):
    counts = {}
    for line in every:
        entry = kept["lines"].get(f"{line.section}: {line.name}")
        cells = judge(line, entry).cells if entry else [{"verdict": "lines not run"}]
        for cell in cells:
            if cell["verdict"]:
                counts[cell["verdict"].replace("**", "")] = counts.get(cell["verdict"].replace("**", ""), 0) + 1
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def runs(kept):
    """When the lines were run, and of what."""
    found = sorted({(entry["date"], entry["commit"], entry["load"], entry["rounds"]) for entry in kept["lines"].values()})
    return "; ".join(f"{date} at {commit} ({load} loads, {rounds} rounds)" for date, commit, load, rounds in found)


def write(kept, every, sections, docs):
    folder = docs / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    text = [HEAD]
    if kept["lines"]:
        text.append(f"\nFigures: {summary(every, kept)}. {kept['machine']}. Lines ran {runs(kept)}.\n")
    for section in sections:
        lines = [line for line in every if line.section == section]
        text.append(table(section, lines, kept))
        text.append(plots(section, lines, kept, folder))
    (docs / "BENCHMARKS.md").write_text("".join(text))
