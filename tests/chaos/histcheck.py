#!/usr/bin/env python3
"""Judges what clients were told: reads histories, finds anomalies, says valid, INVALID or UNKNOWN.

    histcheck.py DIRECTORY|FILE...      every *.jsonl below; exit code 0 only for valid

A history is lines of JSON, one operation each. `start` and `end` are CLOCK_MONOTONIC nanoseconds of when the client asked
and when it knew; `result` is ok, fail (certainly nothing happened) or unknown.

    send    client topic partition value seq result [offset] [txn] start end     value is `client/session:seq`, unique
    poll    client group session topic partition records=[[offset, value]...] end
    assign  client group session topic partitions committed={partition: offset} | null start end
    revoke  client group session topic partitions end
    commit  client group session topic offsets={partition: next offset} result start end
    reset   client group session topic partition error end      the broker said that this reader's place is not there
    txn     client txn result=committed|aborted|unknown start end
    create, alter, delete   client topic result start end [partitions] [value]
    final   topic partition records                  everything that is there after the cluster healed, by a fresh reader
    topics  node topics={topic: {partitions, value}} all topics after the cluster healed, as one node lists them
    replicas topic partition equal detail            whether all replicas have the same bytes below the high watermark
    leader  node pid topic partition leader epoch start end   a partition as this process of a node describes it
    end     topic partition epoch offset start end   the end that the leader of this epoch told a consumer
    fault   kind installed proof                     one fault, and by what it is known to have happened
    worker  client code                              how a client's process ended
    plan    whole_groups readers acked_min faults={kind: least number} unknown_share_max

The classes of anomalies are those of Jepsen's checker for Kafka as far as these workloads can show them, and some about
topics and replicas. `unknown` is a verdict of its own, and it is a failure: a run that saw too little has proved nothing."""

import bisect
import collections
import dataclasses
import json
import pathlib
import sys

EXAMPLES_MAX = 5
CLASSES = {
    "lost": "acknowledged or read, and not there at the end",
    "duplicate": "there twice",
    "reordered": "behind a later record of the same producer",
    "inconsistent-offset": "two values at one offset, or one value at two",
    "phantom": "there, and nobody sent it",
    "nonmonotonic-poll": "a reader went back",
    "skipped": "a reader passed over a record",
    "unseen": "never read by a reader that should have read everything",
    "reset": "a reader's place was refused",
    "commit-backwards": "a group's committed offset went back, or was forgotten",
    "two-leaders": "two nodes lead in one epoch",
    "epoch-backwards": "a node's view of a partition went back to an earlier epoch",
    "end-backwards": "the end that leaders tell consumers went back",
    "aborted-read": "read, and its transaction was aborted",
    "precommitted-read": "read before its transaction was asked to commit",
    "topic-lost": "created or altered, acknowledged, and not there at the end",
    "topic-undead": "deleted, acknowledged, and there at the end",
    "replicas-differ": "replicas have different bytes below the high watermark",
}


@dataclasses.dataclass
class Verdict:
    anomalies: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
    reasons: list = dataclasses.field(default_factory=list)  # why the run proves nothing
    counts: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def add(self, name, text):
        assert name in CLASSES, name
        self.counts[name] += 1
        if len(self.anomalies[name]) < EXAMPLES_MAX:
            self.anomalies[name].append(text)

    @property
    def valid(self):
        """True, False, or None for unknown."""
        if any(self.anomalies.values()):
            return False
        return None if self.reasons else True

    def lines(self):
        for name, examples in self.anomalies.items():
            yield f"{name}: {self.counts[name]} ({CLASSES[name]})"
            yield from (f"    {text}" for text in examples)
        yield from (f"unknown: {reason}" for reason in self.reasons)


def producer_of(value):
    """`client/session` and the sequence of a value: `p0/1:17`, or `7.17` of Kafka's own verifiable producer."""
    separator = ":" if ":" in value else "."
    producer, _, seq = value.rpartition(separator)
    return (producer, int(seq)) if producer and seq.isdigit() else (None, None)


class Checker:
    def __init__(self):
        self.verdict = Verdict()
        self.sends = {}                                       # value -> row
        self.at = collections.defaultdict(dict)               # (topic, partition) -> {offset: value}
        self.final = {}                                       # (topic, partition) -> {offset: value}
        self.sessions = collections.defaultdict(list)         # (client, group, session, topic, partition) -> [(offset, value)]
        self.reads = {}                                       # value -> (topic, partition, offset, end) of its first read
        self.group_events = collections.defaultdict(list)     # (group, topic, partition) -> [(start, end, kind, offset)]
        self.starts = {}                                      # session key -> committed offset that it began at
        self.transactions = {}
        self.topics = collections.defaultdict(list)           # topic -> its operations
        self.listings, self.faults, self.plan = [], [], {}
        self.leaders = {}                                     # (topic, partition, epoch) -> leader
        self.epochs = {}                                      # (node, pid, topic, partition) -> the last epoch told
        self.ends = collections.defaultdict(list)             # (topic, partition) -> [(start, end, epoch, offset)]

    def add(self, row):
        kind = row["op"]
        self.verdict.counts[f"rows {kind}"] += 1
        handler = getattr(self, "on_" + kind, None)
        if handler:
            handler(row)

    def observe(self, partition, offset, value, who):
        there = self.at[partition].setdefault(offset, value)
        if there != value:
            self.verdict.add("inconsistent-offset", f"{partition[0]}-{partition[1]}@{offset}: {there}, then {value} ({who})")

    def on_plan(self, row):
        self.plan = row

    def on_fault(self, row):
        self.faults.append(row)
        if not row["installed"]:
            self.verdict.reasons.append(f"a fault was not really installed: {row['kind']} {row['proof']}")

    def on_worker(self, row):
        if row["code"] != 0:
            self.verdict.reasons.append(f"client {row['client']} ended with {row['code']}")

    def on_send(self, row):
        self.verdict.counts["sends " + row["result"]] += 1
        self.sends[row["value"]] = row
        if row["result"] == "ok" and row.get("offset", -1) >= 0:
            self.observe((row["topic"], row["partition"]), row["offset"], row["value"], "acknowledged")

    def on_poll(self, row):
        partition = (row["topic"], row["partition"])
        session = self.sessions[row["client"], row["group"], row["session"], *partition]
        for offset, value in row["records"]:
            self.observe(partition, offset, value, row["client"])
            session.append((offset, value))
            if value not in self.reads:
                self.reads[value] = (*partition, offset, row["end"])

    def on_assign(self, row):
        for partition in row["partitions"]:
            offset = None if row["committed"] is None else row["committed"].get(str(partition))
            if offset is not None:
                self.starts[row["client"], row["group"], row["session"], row["topic"], partition] = offset
                self.group_events[row["group"], row["topic"], partition].append((row["start"], row["end"], "read", offset))

    def on_commit(self, row):
        if row["result"] == "fail":
            return
        kind = "commit" if row["result"] == "ok" else "perhaps"
        for partition, offset in row["offsets"].items():
            self.group_events[row["group"], row["topic"], int(partition)].append((row["start"], row["end"], kind, offset))

    def on_reset(self, row):
        self.verdict.add("reset", f"{row['client']} at {row['topic']}-{row['partition']}: {row['error']}")

    def on_txn(self, row):
        self.transactions[row["txn"]] = row

    def on_final(self, row):
        partition = (row["topic"], row["partition"])
        log = self.final.setdefault(partition, {})
        for offset, value in row["records"]:
            self.observe(partition, offset, value, "final read")
            log[offset] = value

    def on_replicas(self, row):
        if row["equal"] is None:
            self.verdict.reasons.append(f"replicas of {row['topic']}-{row['partition']} not compared: {row['detail']}")
        elif not row["equal"]:
            self.verdict.add("replicas-differ", f"{row['topic']}-{row['partition']}: {row['detail']}")

    def on_create(self, row):
        self.topics[row["topic"]].append(row)

    on_alter = on_delete = on_create

    def on_leader(self, row):
        where = f"{row['topic']}-{row['partition']}"
        if row["leader"] >= 0:
            leader = self.leaders.setdefault((row["topic"], row["partition"], row["epoch"]), row["leader"])
            if leader != row["leader"]:
                self.verdict.add("two-leaders", f"{where} epoch {row['epoch']}: {leader} and {row['leader']} (by {row['node']})")
        view = (row["node"], row["pid"], row["topic"], row["partition"])
        before = self.epochs.get(view, -1)
        if row["epoch"] < before:
            self.verdict.add("epoch-backwards", f"{where} on node {row['node']}: {row['epoch']} after {before}")
        self.epochs[view] = row["epoch"]

    def on_end(self, row):
        self.ends[row["topic"], row["partition"]].append((row["start"], row["end"], row["epoch"], row["offset"]))

    def on_topics(self, row):
        self.listings.append(row)

    def finish(self):
        places = self.places()
        self.check_lost(places)
        self.check_order()
        self.check_reads(places)
        self.check_unseen()
        self.check_commits()
        self.check_ends()
        self.check_topics()
        self.check_coverage()
        return self.verdict

    def places(self):
        """value -> where it is at the end; duplicates are found on the way."""
        places = {}
        for partition, log in self.final.items():
            for offset, value in log.items():
                if value in places:
                    (topic, index), first = places[value]
                    self.verdict.add("duplicate", f"{value} at {topic}-{index}@{first} and {partition[0]}-{partition[1]}@{offset}")
                else:
                    places[value] = (partition, offset)
                if value not in self.sends:
                    self.verdict.add("phantom", f"{value} at {partition[0]}-{partition[1]}@{offset}")
        return places

    def check_lost(self, places):
        for value, row in self.sends.items():
            partition = (row["topic"], row["partition"])
            if row["result"] != "ok" or partition not in self.final:
                continue
            transaction = self.transactions.get(row.get("txn"))
            if "txn" in row and (transaction is None or transaction["result"] != "committed"):
                continue
            if value not in places:
                self.verdict.add("lost", f"{value} acknowledged at {partition[0]}-{partition[1]}@{row.get('offset')}")
            elif places[value][0] != partition or row.get("offset", -1) not in (-1, -1001, places[value][1]):
                (topic, index), offset = places[value]
                self.verdict.add("inconsistent-offset", f"{value} acknowledged at {partition[0]}-{partition[1]}@{row['offset']}, "
                                                        f"there at {topic}-{index}@{offset}")

    def check_order(self):
        for partition, log in self.final.items():
            last = {}
            for offset in sorted(log):
                producer, seq = producer_of(log[offset])
                if producer is None:
                    continue
                before = last.get(producer, -1)
                if seq < before:
                    self.verdict.add("reordered", f"{log[offset]} behind {producer}:{before} at {partition[0]}-{partition[1]}@{offset}")
                last[producer] = max(before, seq)

    def check_reads(self, places):
        for value, (topic, index, offset, end) in self.reads.items():
            row = self.sends.get(value)
            transaction = self.transactions.get(row.get("txn")) if row else None
            if row is None:
                self.verdict.add("phantom", f"{value} read at {topic}-{index}@{offset}")
            elif transaction and transaction["result"] == "aborted":
                self.verdict.add("aborted-read", f"{value} at {topic}-{index}@{offset} of {row['txn']}")
            elif transaction and end < transaction["start"]:
                self.verdict.add("precommitted-read", f"{value} at {topic}-{index}@{offset} of {row['txn']}")
            elif (topic, index) in self.final and value not in places:
                self.verdict.add("lost", f"{value} read at {topic}-{index}@{offset}")
        offsets = {partition: sorted(log) for partition, log in self.final.items()}
        for (client, group, session, topic, index), records in self.sessions.items():
            log = offsets.get((topic, index))
            where = f"{client} (session {session}) at {topic}-{index}"
            start = self.starts.get((client, group, session, topic, index)) if group else 0
            if start is not None and records[0][0] < start:
                self.verdict.add("nonmonotonic-poll", f"{where}: begins at {records[0][0]}, committed was {start}")
            # Before the first record lies where the session began; nothing is known where its committed offset is not.
            before = records[0][0] - 1 if start is None else max(start, 0) - 1
            for offset, _ in records:
                if offset <= before:
                    self.verdict.add("nonmonotonic-poll", f"{where}: {offset} after {before}")
                elif offset != before + 1 and log:
                    first = bisect.bisect_right(log, before)
                    if first < len(log) and log[first] < offset:
                        self.verdict.add("skipped", f"{where}: from {before} to {offset}, {log[first]} is between")
                before = offset

    def check_unseen(self):
        seen = collections.defaultdict(set)
        for (client, group, _, topic, index), records in self.sessions.items():
            for who in (client, group):
                seen[who, topic, index].update(offset for offset, _ in records)
        for who in [*self.plan.get("readers", []), *self.plan.get("whole_groups", [])]:
            for (topic, index), log in self.final.items():
                for offset in sorted(set(log) - seen[who, topic, index])[:EXAMPLES_MAX]:
                    self.verdict.add("unseen", f"{log[offset]} at {topic}-{index}@{offset} by {who}")

    def check_commits(self):
        for (group, topic, index), events in self.group_events.items():
            done = sorted((end, offset) for _, end, kind, offset in events if kind == "commit")
            perhaps = [(start, offset) for start, _, kind, offset in events if kind == "perhaps"]
            highest, next_done = -sys.maxsize, 0  # a group without a committed offset reads a negative one
            for start, end, kind, offset in sorted(events):
                while next_done < len(done) and done[next_done][0] < start:
                    highest = max(highest, done[next_done][1])
                    next_done += 1
                # A commit that nobody heard back of may have been done at any time after it was asked.
                explained = kind == "read" and any(asked < end and value == offset for asked, value in perhaps)
                if kind != "perhaps" and offset < highest and not explained:
                    self.verdict.add("commit-backwards", f"{group} at {topic}-{index}: {kind} {offset} after {highest} was committed")

    def check_ends(self):
        """An end that was told holds for all who ask later, in that epoch or a later one. A leader that does not know yet
        that it was deposed may still tell an old one: its epoch is older."""
        for (topic, index), told in self.ends.items():
            done, highest, next_done = sorted((end, epoch, offset) for _, end, epoch, offset in told), {}, 0
            for start, _, epoch, offset in sorted(told):
                while next_done < len(done) and done[next_done][0] < start:
                    _, of, there = done[next_done]
                    highest[of] = max(highest.get(of, -1), there)
                    next_done += 1
                before = max((there for of, there in highest.items() if of <= epoch), default=-1)
                if offset < before:
                    self.verdict.add("end-backwards", f"{topic}-{index} epoch {epoch}: {offset} after {before}")

    def check_topics(self):
        for topic, rows in self.topics.items():
            rows.sort(key=lambda row: row["start"])
            created = any(row["op"] == "create" and row["result"] == "ok" for row in rows)
            deletes = [row["result"] for row in rows if row["op"] == "delete"]
            alters = [row for row in rows if row["op"] == "alter" and row["result"] != "fail"]
            for listing in self.listings:
                there = listing["topics"].get(topic)
                if "ok" in deletes and there is not None:
                    self.verdict.add("topic-undead", f"{topic} on node {listing['node']}")
                elif created and not deletes and there is None:
                    self.verdict.add("topic-lost", f"{topic} on node {listing['node']}")
                elif created and there is not None and alters:
                    since = max((i for i, row in enumerate(alters) if row["result"] == "ok"), default=None)
                    possible = {row["value"] for row in alters[since:]} if since is not None else None
                    if possible is not None and there.get("value") not in possible | {None}:
                        self.verdict.add("topic-lost", f"{topic} on node {listing['node']}: {there['value']}, altered to {possible}")

    def check_coverage(self):
        reasons, counts = self.verdict.reasons, self.verdict.counts
        ok, unknown = counts["sends ok"], counts["sends unknown"]
        if ok < self.plan.get("acked_min", 1):
            reasons.append(f"only {ok} sends were acknowledged, {self.plan.get('acked_min', 1)} are needed")
        share = unknown / max(ok + unknown, 1)
        if share > self.plan.get("unknown_share_max", 0.2):
            reasons.append(f"{share:.0%} of the sends have no known outcome")
        for partition in {(row["topic"], row["partition"]) for row in self.sends.values()} - set(self.final):
            reasons.append(f"{partition[0]}-{partition[1]} was not read at the end")
        installed = collections.Counter(row["kind"] for row in self.faults if row["installed"])
        for kind, least in self.plan.get("faults", {}).items():
            if installed[kind] < least:
                reasons.append(f"{installed[kind]} faults of kind {kind}, {least} are needed")
        if self.topics and not self.listings:
            reasons.append("topics were changed, and not listed at the end")


def check(rows):
    checker = Checker()
    for row in rows:
        checker.add(row)
    return checker.finish()


def read(paths):
    for path in paths:
        path = pathlib.Path(path)
        for file in sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]:
            with open(file) as lines:
                yield from map(json.loads, lines)


if __name__ == "__main__":
    verdict = check(read(sys.argv[1:]))
    print({True: "valid", False: "INVALID", None: "UNKNOWN"}[verdict.valid], dict(verdict.counts))
    print("\n".join(verdict.lines()))
    sys.exit(0 if verdict.valid else 1)
