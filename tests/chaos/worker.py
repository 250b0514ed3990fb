#!/usr/bin/env python3
"""One client of a workload, in a process of its own: a stock client that writes down what it asked and what it was told.

    worker.py producer|assign|group|admin|copy --client NAME --bootstrap HOSTS --history FILE ...

SIGTERM ends it: a producer waits for its last answers, an `assign` reader reads on until the offsets that it is told on
standard input. The rows are described in histcheck.py; times are CLOCK_MONOTONIC nanoseconds, the same for all."""

import argparse
import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

# Patience of a client that means to outlive a leader: what it gives up on is unknown, and too much of that tells nothing.
MESSAGE_TIMEOUT_MS = 60_000
# Longer than a silent replica stays in sync (replica.lag.time.max.ms, and as much again until that is looked at). librdkafka
# sends what timed out again under a new epoch when another partition makes it take one, and then nobody can tell that it
# was there already: a limit of the client, not what is tested here.
REQUEST_TIMEOUTS_MS = {"request.timeout.ms": 15_000, "socket.timeout.ms": 16_000}
CLIENT = {
    "retry.backoff.ms": 50,
    "retry.backoff.max.ms": 500,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 500,
    "topic.metadata.refresh.fast.interval.ms": 100,
    "socket.timeout.ms": 6_000,
    # CHAOS_DEBUG=eos,msg has librdkafka say what it is told and what it does about it, in the client's .log.
    **({"debug": os.environ["CHAOS_DEBUG"], "log_level": 7} if os.environ.get("CHAOS_DEBUG") else {"log_level": 0}),
}
READER = {"check.crcs": True, "fetch.wait.max.ms": 100, "enable.partition.eof": False, "fetch.error.backoff.ms": 50}
# Errors after which the record is certainly not in the log, however often it was tried.
CERTAINLY_FAILED = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.INVALID_RECORD}

# No call of a copier waits longer than its patience: who says nothing for so long hangs, in the client's library.
PATIENCE_SECONDS, HANG_SECONDS, RESTARTS_MAX = 20, 40, 3
# How a process ends that hung (faulthandler's choice), and one that broke, which is not started again.
HUNG, BROKEN = 1, 7

stopped = threading.Event()
now = time.monotonic_ns


class History:
    def __init__(self, path, client):
        self.file, self.client, self.written = open(path, "w"), client, now()

    def write(self, op, **fields):
        self.file.write(json.dumps({"op": op, "client": self.client, **fields}, separators=(",", ":")) + "\n")
        if now() - self.written > 500_000_000:
            self.file.flush()
            self.written = now()

    def close(self):
        self.file.close()


def payload(value, seq):
    """The record's bytes: its name, and a tail of varying length that follows from it."""
    return (value + "|" + "x" * (seq * 37 % 200)).encode()


def value_of(data):
    """The record's name; damaged bytes are a name that nobody sent."""
    text = data.decode(errors="replace")
    value, _, tail = text.partition("|")
    seq = value.rpartition(":")[2] or value.rpartition(".")[2]
    if "|" in text and not (seq.isdigit() and tail == "x" * (int(seq) * 37 % 200)):
        return f"damaged {text[:40]}"
    return value


def name_of(error):
    return error.name() if isinstance(error, KafkaError) else str(error)


def produce(options, history):
    rng = random.Random(options.seed)
    session = seq = waiting = 0
    state = {"fatal": False}

    def connect():
        return Producer({**CLIENT, "bootstrap.servers": options.bootstrap, "enable.idempotence": True, "acks": "all",
                         "linger.ms": 2, "message.timeout.ms": MESSAGE_TIMEOUT_MS, **REQUEST_TIMEOUTS_MS,
                         "client.id": options.client, "compression.type": options.compression},
                        error_cb=lambda error: state.update(fatal=state["fatal"] or error.fatal()))

    def answered(value, partition, sent, start):
        def note(error, message):
            nonlocal waiting
            waiting -= 1
            fields = {"topic": options.topic, "partition": partition, "value": value, "seq": sent, "start": start,
                      "end": now()}
            if error is None:
                # A retry that the leader knew already is acknowledged without an offset.
                offset = message.offset()
                history.write("send", result="ok", offset=-1 if offset is None else offset, **fields)
            else:
                certain = error.code() in CERTAINLY_FAILED
                history.write("send", result="fail" if certain else "unknown", error=name_of(error), **fields)

        return note

    producer, started = connect(), time.monotonic()
    while not stopped.is_set():
        if state["fatal"]:
            # An idempotent producer that lost its place is over: what it still holds becomes unknown, the next one is new.
            producer.purge()
            producer.flush(10)
            session, state["fatal"], producer = session + 1, False, connect()
        for _ in range(min(200, int((time.monotonic() - started) * options.rate) - seq)):
            value, partition = f"{options.client}/{session}:{seq}", rng.randrange(options.partitions)
            try:
                producer.produce(options.topic, payload(value, seq), partition=partition,
                                 on_delivery=answered(value, partition, seq, now()))
                waiting += 1
            except BufferError:
                started += (int((time.monotonic() - started) * options.rate) - seq) / options.rate  # sent too far ahead
                break
            except KafkaException as error:
                state["fatal"] = state["fatal"] or error.args[0].fatal()
                break
            seq += 1
        producer.poll(0.01)
    deadline = time.monotonic() + MESSAGE_TIMEOUT_MS / 1000 + 15
    while waiting and time.monotonic() < deadline:
        producer.poll(0.1)
    return 0 if waiting == 0 else 3


def write_records(history, group, session, messages):
    """What one consume() brought, a row for each partition."""
    found = {}
    for message in messages:
        error = message.error()
        if error is None:
            row = found.setdefault((message.topic(), message.partition()), [])
            row.append([message.offset(), value_of(message.value())])
        elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION):
            history.write("reset", group=group, session=session, topic=message.topic(), partition=message.partition(),
                          error=name_of(error), end=now())
    for (topic, partition), records in found.items():
        history.write("poll", group=group, session=session, topic=topic, partition=partition, records=records, end=now())
    return {at: records[-1][0] + 1 for at, records in found.items()}


def assign(options, history):
    """Reads every partition from its start; after the workload until the offsets that it is told."""
    until = {}

    def listen():
        for line in sys.stdin:
            until.update({int(partition): offset for partition, offset in json.loads(line)["until"].items()})

    threading.Thread(target=listen, daemon=True).start()
    consumer = Consumer({**CLIENT, **READER, "bootstrap.servers": options.bootstrap, "group.id": options.client,
                         "enable.auto.commit": False, "auto.offset.reset": "error", "client.id": options.client})
    consumer.assign([TopicPartition(options.topic, p, 0) for p in range(options.partitions)])
    position = {p: 0 for p in range(options.partitions)}
    while not stopped.is_set():
        for (_, partition), offset in write_records(history, None, 0, consumer.consume(500, 0.1)).items():
            position[partition] = offset
        if until and all(position[p] >= offset for p, offset in until.items()):
            break
    consumer.close()
    return 0


def group(options, history):
    """A member of a group that commits what it has read, a few times a second."""
    session, assigned, position, last = 0, set(), {}, time.monotonic()

    def on_assign(consumer, partitions):
        nonlocal session
        session += 1
        assigned.update((p.topic, p.partition) for p in partitions)
        start, found = now(), None
        try:
            answer = consumer.committed([TopicPartition(p.topic, p.partition) for p in partitions], timeout=5)
            found = {p.partition: p.offset for p in answer if p.error is None}
        except KafkaException as error:
            history.write("note", text=f"committed: {name_of(error.args[0])}", end=now())
        history.write("assign", group=options.group, session=session, topic=options.topic,
                      partitions=[p.partition for p in partitions], committed=found, start=start, end=now())

    def on_revoke(consumer, partitions):
        commit(consumer)
        forget(consumer, partitions)

    def forget(_, partitions):
        for p in partitions:
            assigned.discard((p.topic, p.partition))
            position.pop((p.topic, p.partition), None)
        history.write("revoke", group=options.group, session=session, topic=options.topic,
                      partitions=[p.partition for p in partitions], end=now())

    def commit(consumer):
        nonlocal last
        last = time.monotonic()
        if not position:
            return
        offsets = {p: offset for (_, p), offset in position.items()}
        start, result, error_name = now(), "ok", None
        try:
            answer = consumer.commit(offsets=[TopicPartition(t, p, o) for (t, p), o in position.items()], asynchronous=False)
            errors = [p.error for p in answer if p.error is not None]
            if errors:
                result, error_name = "unknown", name_of(errors[0])
        except KafkaException as error:
            result, error_name = "unknown", name_of(error.args[0])
            if error.args[0].code() in (KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID,
                                        KafkaError.FENCED_INSTANCE_ID):
                result = "fail"
        history.write("commit", group=options.group, session=session, topic=options.topic, offsets=offsets,
                      result=result, error=error_name, start=start, end=now())
        position.clear()

    static = {"group.instance.id": options.instance} if options.instance else {}
    consumer = Consumer({**CLIENT, **READER, **static, "bootstrap.servers": options.bootstrap, "group.id": options.group,
                         "enable.auto.commit": False, "auto.offset.reset": "earliest", "session.timeout.ms": 6_000,
                         "heartbeat.interval.ms": 500, "client.id": options.client})
    consumer.subscribe([options.topic], on_assign=on_assign, on_revoke=on_revoke, on_lost=forget)
    while not stopped.is_set():
        # One by one: what was polled belongs to the assignment that holds right after the poll.
        message, of, messages = consumer.poll(0.1), session, []
        while message is not None and session == of and len(messages) < 500:
            messages.append(message)
            message = consumer.poll(0)
        read = write_records(history, options.group, of, messages)
        position.update({at: offset for at, offset in read.items() if at in assigned})
        if message is not None:
            read = write_records(history, options.group, session, [message])
            position.update({at: offset for at, offset in read.items() if at in assigned})
        if time.monotonic() - last > 0.3:
            commit(consumer)
    if not options.abrupt:
        consumer.close()  # revokes, and so commits
    return 0


def admin(options, history):
    """Makes, alters and deletes topics of its own, one request after another."""
    rng, n, there = random.Random(options.seed), 0, []
    client = AdminClient({**CLIENT, "bootstrap.servers": options.bootstrap, "client.id": options.client})

    def attempt(op, topic, ask, **fields):
        start, result, error_name = now(), "ok", None
        try:
            ask().result(12)
        except Exception as error:
            code = error.args[0] if error.args and isinstance(error.args[0], KafkaError) else None
            result, error_name = "unknown", name_of(code) if code else type(error).__name__
        history.write(op, topic=topic, result=result, error=error_name, start=start, end=now(), **fields)
        return result == "ok"

    while not stopped.is_set():
        choice = rng.random()
        if len(there) < 3 or (choice < 0.5 and len(there) < 30):
            name, partitions, n = f"{options.client}-{n}", rng.randint(1, 3), n + 1
            made = attempt("create", name, lambda: client.create_topics(
                [NewTopic(name, partitions, config={"retention.ms": "3600000"})], request_timeout=10,
                operation_timeout=10)[name], partitions=partitions)
            if made:
                there.append(name)
        elif choice < 0.75:
            name, value = rng.choice(there), str(rng.randint(3_600_000, 7_200_000))
            entry = ConfigEntry("retention.ms", value, incremental_operation=AlterConfigOpType.SET)
            resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
            attempt("alter", name, lambda: client.incremental_alter_configs([resource], request_timeout=10)[resource],
                    value=value)
        else:
            name = there.pop(rng.randrange(len(there)))
            attempt("delete", name, lambda: client.delete_topics([name], request_timeout=10, operation_timeout=10)[name])
        stopped.wait(rng.uniform(0.05, 0.2))
    return 0


def still_here():
    """To be called before each call that may wait: who hangs in one ends, and says where in its log."""
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
    if os.getppid() != copier_of:
        os._exit(5)  # who watches over this one was killed


copier_of = None


def outlive_hangs():
    """Returns in a process of its own; another comes in its place where that one hangs, as whoever runs an application starts it anew. librdkafka 2.16 may never answer `consumer_group_metadata` after its brokers' addresses changed."""
    global copier_of
    for restart in range(RESTARTS_MAX + 1):
        watching, child = os.getpid(), os.fork()
        if child == 0:
            copier_of = watching
            signal.signal(signal.SIGTERM, lambda *_: stopped.set())
            sys.excepthook = lambda *error: (sys.__excepthook__(*error), os._exit(BROKEN))
            return
        signal.signal(signal.SIGTERM, lambda *_, child=child: (stopped.set(), os.kill(child, signal.SIGTERM)))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code != HUNG or stopped.is_set() or restart == RESTARTS_MAX:
            os._exit(code if code >= 0 else BROKEN)
        print("it hung, and is started again", file=sys.stderr, flush=True)


def copy(options, history):
    """A member of a group that copies what it reads into another topic: records and offsets in one transaction. Now and then
    it aborts one, or leaves it open for its next producer to abort."""
    patience, assigned, rng, retired = PATIENCE_SECONDS, [], random.Random(options.seed), []
    transactional = {"bootstrap.servers": options.bootstrap, "transactional.id": options.client, "client.id": options.client,
                     "transaction.timeout.ms": 20_000, "linger.ms": 2, **({"socket.timeout.ms": 4_000} if options.impatient else {})}

    def seek_back(consumer):
        """To what is committed: the last transaction came to nothing, or nobody knows what it came to."""
        for at in consumer.committed(consumer.assignment(), timeout=patience):
            consumer.seek(TopicPartition(at.topic, at.partition, max(at.offset, 0)))

    def start():
        producer = Producer({**CLIENT, "bootstrap.servers": options.bootstrap, "transactional.id": options.client,
                             "transaction.timeout.ms": 20_000, "client.id": options.client, "linger.ms": 2})
        while not stopped.is_set():
            try:
                still_here()
                producer.init_transactions(patience)
                return producer
            except KafkaException as error:
                if error.args[0].fatal():
                    # librdkafka may wait for ever for an old producer's end, with a transaction whose coordinator is gone. It
                    # lives on, as one of an application that hangs does, and is fenced.
                    retired.append(producer)
                    producer = Producer({**CLIENT, "bootstrap.servers": options.bootstrap, "linger.ms": 2,
                                         "transactional.id": options.client, "transaction.timeout.ms": 20_000})
        return producer

    consumer = Consumer({**CLIENT, **READER, "bootstrap.servers": options.bootstrap, "group.id": options.group,
                         "isolation.level": "read_committed", "enable.auto.commit": False, "session.timeout.ms": 6_000,
                         "auto.offset.reset": "earliest", "heartbeat.interval.ms": 500, "client.id": options.client})
    consumer.subscribe([options.topic], on_assign=lambda _, partitions: assigned.extend(partitions))
    producer, is_lost = start(), False
    while not stopped.is_set():
        still_here()
        try:
            if is_lost:
                seek_back(consumer)
                is_lost = False
                still_here()
            messages = [message for message in consumer.consume(200, 0.1) if message.error() is None]
            if not messages:
                continue
            is_lost = True
            producer.begin_transaction()
            for message in messages:
                producer.produce(options.target, message.value(), partition=message.partition())
            chance = rng.random()
            if chance < 0.1:
                producer.flush(patience)
                if chance < 0.05:
                    still_here()
                    producer.abort_transaction(patience)
                else:
                    retired.append(producer)
                    producer = start()
                continue
            still_here()
            producer.send_offsets_to_transaction(consumer.position(consumer.assignment()),
                                                 consumer.consumer_group_metadata(), patience)
            still_here()
            producer.commit_transaction(patience)
            is_lost = False
        except (KafkaException, BufferError) as error:
            history.write("note", text=f"copy: {name_of(error.args[0])}", end=now())
            still_here()
            try:
                producer.abort_transaction(patience)
            except KafkaException:
                retired.append(producer)
                producer = start()
    still_here()
    consumer.close()
    history.close()
    # Without an end of theirs.
    os._exit(0 if assigned else 4)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("producer", "assign", "group", "admin", "copy"))
    for name in ("--client", "--bootstrap", "--history"):
        parser.add_argument(name, required=True)
    parser.add_argument("--topic", default="w1")
    parser.add_argument("--partitions", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--group", default="g1")
    parser.add_argument("--target", default="copied")
    parser.add_argument("--instance")
    parser.add_argument("--compression", default="none")
    parser.add_argument("--impatient", action="store_true", help="a copier that waits seconds for an answer")
    parser.add_argument("--abrupt", action="store_true", help="a group member that ends without leaving its group")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    faulthandler.register(signal.SIGUSR1)  # into its log, where it is, of whoever hangs
    if options.kind == "copy":
        outlive_hangs()
    history = History(options.history, options.client)
    code = {"producer": produce, "assign": assign, "group": group, "admin": admin, "copy": copy}[options.kind](options, history)
    history.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
