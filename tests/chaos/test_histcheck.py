"""The judge is judged: small histories, good ones that pass, and for each class of anomalies bad ones that are caught."""

import pytest

from histcheck import CLASSES, check

A, B, C = "p0/0:0", "p0/0:1", "p0/0:2"


def send(value, offset=None, result="ok", partition=0, **more):
    return {"op": "send", "client": "p0", "topic": "t", "partition": partition, "value": value, "seq": 0, "result": result,
            "start": 0, "end": 1, **({} if offset is None else {"offset": offset}), **more}


def poll(*records, client="a0", group=None, session=0, partition=0, end=5):
    return {"op": "poll", "client": client, "group": group, "session": session, "topic": "t", "partition": partition,
            "records": [list(record) for record in records], "end": end}


def final(*values, partition=0, first=0):
    records = [[offset, value] for offset, value in enumerate(values, first) if value is not None]
    return {"op": "final", "topic": "t", "partition": partition, "records": records}


def assign(committed, client="g0", session=1, start=10):
    return {"op": "assign", "client": client, "group": "g", "session": session, "topic": "t", "partitions": [0],
            "committed": committed, "start": start, "end": start + 1}


def commit(offset, start, result="ok", client="g0"):
    return {"op": "commit", "client": client, "group": "g", "session": 1, "topic": "t", "offsets": {"0": offset},
            "result": result, "start": start, "end": start + 1}


def plan(**more):
    return {"op": "plan", "acked_min": 1, **more}


def change(op, result="ok", start=0, **more):
    return {"op": op, "client": "m0", "topic": "x", "result": result, "start": start, "end": start + 1, **more}


def topics(node=1, **found):
    return {"op": "topics", "node": node, "topics": found}


def txn(result, start=7):
    return {"op": "txn", "client": "p0", "txn": "x1", "result": result, "start": start, "end": start + 1}


def leader(leader, epoch, node=1, pid=7, partition=0):
    return {"op": "leader", "node": node, "pid": pid, "topic": "t", "partition": partition, "leader": leader, "epoch": epoch,
            "start": 0, "end": 1}


def told(offset, start, epoch=1):
    return {"op": "end", "topic": "t", "partition": 0, "epoch": epoch, "offset": offset, "start": start, "end": start + 1}


ALL = [send(A, 0), send(B, 1), send(C, 2), final(A, B, C)]
GOOD = {
    "all is there": ALL,
    "an acknowledgement without an offset": [send(A, -1), final(A)],
    "a timed out send is there": [send(A, 0), send(B, result="unknown"), final(A, B), plan(unknown_share_max=0.5)],
    "a timed out send is not there": [send(A, 0), *[send(f"p0/0:{n}", n) for n in range(2, 9)], send(B, result="unknown"),
                                      final(A, None, *[f"p0/0:{n}" for n in range(2, 9)])],
    "a failed send is not there": [send(A, 0), send(B, result="fail"), final(A)],
    "a new session of a producer begins anew": [send("p0/0:7", 0), send("p0/1:3", 1), final("p0/0:7", "p0/1:3")],
    "readers see everything": [*ALL, poll((0, A), (1, B)), poll((2, C)), plan(readers=["a0"])],
    "the log has a hole that nobody wrote to": [send(A, 0), send(B, 5), final(A, None, None, None, None, B), poll((0, A), (5, B))],
    "a group's members share": [*ALL, assign({"0": -1001}), poll((0, A), client="g0", group="g", session=1), commit(1, 20),
                                assign({"0": 1}, client="g1", start=30),
                                poll((1, B), (2, C), client="g1", group="g", session=1), plan(whole_groups=["g"])],
    "a group reads again what it did not commit": [*ALL, assign({"0": -1001}),
                                                   poll((0, A), (1, B), client="g0", group="g", session=1), commit(1, 20),
                                                   assign({"0": 1}, session=2, start=30),
                                                   poll((1, B), (2, C), client="g0", group="g", session=2)],
    "a commit of unknown outcome was done late": [*ALL, commit(1, 10, "unknown"), commit(2, 20), assign({"0": 1}, start=30)],
    "a commit of unknown outcome was not done": [*ALL, commit(1, 10), commit(2, 20, "unknown"), assign({"0": 1}, start=30)],
    "a read while a commit is under way": [*ALL, commit(1, 10), commit(2, 30), assign({"0": 1}, start=30)],
    "topics as they were left": [*ALL, change("create"), change("alter", value="5", start=2), topics(x={"value": "5"})],
    "a deleted topic": [*ALL, change("create"), change("delete", start=5), topics()],
    "a delete of unknown outcome": [*ALL, change("create"), change("delete", "unknown", start=5), topics(x={})],
    "an alter of unknown outcome": [*ALL, change("create"), change("alter", value="5", start=2),
                                    change("alter", "unknown", value="6", start=4), topics(x={"value": "6"})],
    "leaders come and go": [*ALL, leader(1, 0), leader(-1, 1), leader(2, 2), leader(2, 2, node=2), leader(1, 3)],
    "a node that was restarted knows less": [*ALL, leader(1, 5), leader(1, 3, pid=8)],
    "nodes know different epochs": [*ALL, leader(1, 5), leader(2, 3, node=2), leader(1, 1, partition=1)],
    "ends grow": [*ALL, told(1, 10), told(1, 20), told(5, 30, epoch=2)],
    "ends that were asked at the same time": [*ALL, told(5, 10), told(4, 10)],
    "a deposed leader tells an old end": [*ALL, told(5, 10, epoch=2), told(4, 20, epoch=1), told(5, 30, epoch=2)],
    "a committed transaction": [send(A, 0, txn="x1"), txn("committed"), final(A), poll((0, A), end=8)],
    "an aborted transaction": [send(A, 0, txn="x1"), txn("aborted"), send(B, 1), final(None, B), poll((1, B), client="g0", group="g")],
    "a fault that was there": [*ALL, {"op": "fault", "kind": "kill", "installed": True, "proof": {}}, plan(faults={"kill": 1})],
    "equal replicas": [*ALL, {"op": "replicas", "topic": "t", "partition": 0, "equal": True, "detail": ""}],
}
BAD = {
    "lost": {
        "an acknowledged record": [send(A, 0), send(B, 1), final(A)],
        "an acknowledged record in the middle": [send(A, 0), send(B, 1), send(C, 2), final(A, None, C)],
        "a record of unknown outcome that was read": [send(A, 0), send(B, result="unknown"), poll((0, A), (1, B)), final(A)],
        "a record of a committed transaction": [send(A, 0, txn="x1"), txn("committed"), final()],
    },
    "duplicate": {
        "in one partition": [send(A, 0), final(A, A)],
        "in two partitions": [send(A, 0), final(A), final(A, partition=1)],
        "of unknown outcome": [send(B, 0), send(A, result="unknown"), final(B, A, A)],
    },
    "reordered": {
        "two records of a producer": [send(B, 0), send(A, 1), final(B, A)],
        "with others between": [send(C, 0), send("p1/0:0", 1), send(A, 2), final(C, "p1/0:0", A)],
        "of Kafka's own producer": [send("7.2", 0), send("7.1", 1), final("7.2", "7.1")],
    },
    "inconsistent-offset": {
        "acknowledged and read": [send(A, 0), send(B, result="unknown"), poll((0, B)), final(A, B)],
        "two readers": [send(A, 1), send(B, 0), poll((0, A)), poll((0, B), client="a1"), final(B, A)],
        "two acknowledged at one": [send(A, 0), send(B, 0), final(A, B)],
        "acknowledged elsewhere": [send(A, 5), final(A)],
        "acknowledged in another partition": [send(A, 0, partition=1), final(A), final(partition=1)],
    },
    "phantom": {
        "in the log": [send(A, 0), final(A, "p9/0:0")],
        "damaged": [send(A, 0), final(A, "damaged p0/0:1")],
        "read only": [send(A, 0), poll((0, A), (1, "p9/0:0")), final(A)],
    },
    "nonmonotonic-poll": {
        "back": [*ALL, poll((0, A), (1, B)), poll((0, A))],
        "the same again": [*ALL, poll((0, A)), poll((0, A), (1, B))],
        "before what was committed": [*ALL, assign({"0": 1}), poll((0, A), client="g0", group="g", session=1)],
    },
    "skipped": {
        "one record": [*ALL, poll((0, A), (2, C))],
        "the first": [*ALL, poll((1, B))],
        "between two polls": [*ALL, poll((0, A)), poll((2, C))],
        "by a group after its committed offset": [*ALL, assign({"0": 1}), poll((2, C), client="g0", group="g", session=1)],
        "by a group without a committed offset": [*ALL, assign({"0": -1001}), poll((1, B), client="g0", group="g", session=1)],
    },
    "unseen": {
        "by a reader": [*ALL, poll((0, A), (1, B)), plan(readers=["a0"])],
        "by a group": [*ALL, poll((0, A), (1, B), client="g0", group="g", session=1), plan(whole_groups=["g"])],
        "by a reader that read nothing": [*ALL, plan(readers=["a0"])],
    },
    "reset": {
        "out of range": [*ALL, {"op": "reset", "client": "a0", "group": None, "session": 0, "topic": "t", "partition": 0,
                                "error": "OFFSET_OUT_OF_RANGE", "end": 5}],
    },
    "commit-backwards": {
        "read": [*ALL, commit(2, 10), assign({"0": 1}, start=20)],
        "forgotten": [*ALL, commit(2, 10), assign({"0": -1001}, start=20)],
        "zero": [*ALL, commit(2, 10), assign({"0": 0}, start=20)],
        "committed": [*ALL, commit(2, 10), commit(1, 20, client="g1")],
        "a commit that certainly failed explains nothing": [*ALL, commit(1, 5, "fail"), commit(2, 10), assign({"0": 1}, start=20)],
    },
    "two-leaders": {
        "as one node says": [*ALL, leader(1, 3), leader(2, 3)],
        "as two nodes say": [*ALL, leader(1, 3), leader(2, 3, node=2)],
    },
    "epoch-backwards": {
        "on one node": [*ALL, leader(1, 3), leader(2, 2)],
        "without a leader": [*ALL, leader(1, 3), leader(-1, 2)],
    },
    "end-backwards": {
        "in one epoch": [*ALL, told(5, 10), told(4, 20)],
        "in the next epoch": [*ALL, told(5, 10), told(4, 20, epoch=2)],
        "two epochs later": [*ALL, told(5, 10), told(5, 20, epoch=2), told(3, 30, epoch=3)],
    },
    "aborted-read": {
        "by a reader": [send(A, 0, txn="x1"), txn("aborted"), send(B, 1), poll((0, A)), final(None, B)],
    },
    "precommitted-read": {
        "by a reader": [send(A, 0, txn="x1"), txn("committed", start=7), poll((0, A), end=5), final(A)],
    },
    "topic-lost": {
        "created": [*ALL, change("create"), topics()],
        "on one node": [*ALL, change("create"), topics(x={}), topics(node=2)],
        "altered": [*ALL, change("create"), change("alter", value="5", start=2), topics(x={"value": "4"})],
        "altered twice": [*ALL, change("create"), change("alter", value="4", start=2), change("alter", value="5", start=4),
                          topics(x={"value": "4"})],
    },
    "topic-undead": {
        "deleted": [*ALL, change("create"), change("delete", start=5), topics(x={})],
        "created with unknown outcome, deleted": [*ALL, change("create", "unknown"), change("delete", start=5), topics(x={})],
    },
    "replicas-differ": {
        "one": [*ALL, {"op": "replicas", "topic": "t", "partition": 0, "equal": False, "detail": ""}],
    },
}
UNKNOWN = {
    "nothing at all": [],
    "nothing acknowledged": [send(A, result="unknown"), final(A)],
    "too little acknowledged": [*ALL, plan(acked_min=4)],
    "too much of unknown outcome": [*ALL, send("p0/0:3", result="unknown")],
    "no read at the end": [send(A, 0)],
    "one partition not read at the end": [*ALL, send("p1/0:0", 0, partition=1)],
    "a fault that was not installed": [*ALL, {"op": "fault", "kind": "kill", "installed": False, "proof": {}}],
    "too few faults": [*ALL, {"op": "fault", "kind": "kill", "installed": True, "proof": {}}, plan(faults={"kill": 2})],
    "a kind of fault that never came": [*ALL, plan(faults={"kill": 1})],
    "a client that broke": [*ALL, {"op": "worker", "client": "p0", "code": 1}],
    "replicas not compared": [*ALL, {"op": "replicas", "topic": "t", "partition": 0, "equal": None, "detail": ""}],
    "topics not listed at the end": [*ALL, change("create")],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_valid(name):
    verdict = check(GOOD[name])
    assert verdict.valid is True, list(verdict.lines())


@pytest.mark.parametrize("anomaly,name", [(anomaly, name) for anomaly, histories in BAD.items() for name in histories])
def test_an_anomaly_is_caught(anomaly, name):
    verdict = check(BAD[anomaly][name])
    assert verdict.valid is False
    assert verdict.anomalies[anomaly], list(verdict.lines())


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_run_that_saw_too_little_is_unknown(name):
    verdict = check(UNKNOWN[name])
    assert verdict.valid is None, list(verdict.lines())


def test_every_class_of_anomalies_has_a_bad_history():
    assert set(BAD) == set(CLASSES)


def test_anomalies_outweigh_unknown():
    assert check([send(A, 0), send(B, 1), final(A), plan(acked_min=100)]).valid is False
