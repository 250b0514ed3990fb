"""Gaps around faults are those of the partition that waited longest, and of that fault."""

from gaps import gaps

SECOND = 10**9


def ack(seconds, partition=0, result="ok"):
    return {"op": "send", "topic": "t", "partition": partition, "result": result, "end": int(seconds * SECOND)}


def fault(seconds, kind="kill", installed=True):
    return {"op": "fault", "kind": kind, "installed": installed, "proof": {"began": int(seconds * SECOND)}}


def test_a_gap_begins_with_the_fault_or_after_it():
    assert gaps([ack(1), ack(1.9), fault(2), ack(4.9), ack(5)]) == {"kill": [2.9]}
    assert gaps([ack(1.9), fault(2), ack(2.1), ack(2.2), ack(4.2), ack(4.3)]) == {"kill": [2.0]}


def test_the_partition_that_waited_longest_counts():
    rows = [fault(2), *(ack(n / 10, 0) for n in range(100)), ack(1.9, 1), ack(6, 1), ack(6.1, 1)]
    assert gaps(rows) == {"kill": [4.0]}


def test_each_fault_has_its_own_gap_and_ends_where_the_next_begins():
    rows = [ack(1), fault(2, "kill"), ack(3), fault(10, "roll"), ack(10.5), ack(10.6)]
    assert gaps(rows) == {"kill": [1.0], "roll": [0.5]}


def test_what_never_came_back_is_as_long_as_the_window():
    assert gaps([ack(1), fault(2), ack(1.5, 1), ack(2.5, 1)]) == {"kill": [60.0]}


def test_unknown_sends_and_faults_that_were_not_there_count_nothing():
    assert gaps([ack(1), fault(2, installed=False), ack(2.5)]) == {}
    assert gaps([ack(1), fault(2), ack(2.2, result="unknown"), ack(3), ack(3.1)]) == {"kill": [1.0]}


def test_clients_that_do_not_tell_when_they_knew_count_nothing():
    assert gaps([ack(0), fault(2)]) == {}
