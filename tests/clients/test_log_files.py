"""What Moldau writes, read by Apache Kafka's own DumpLogSegments: every segment, index and snapshot, without a complaint."""

import random
import re
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaProducer

from conftest import eventually

SEGMENT_BYTES = 1 << 20
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]

# What DumpLogSegments says of a file that is not as it should be. It ends with 0 all the same. Of every segment that does
# not begin at 0 it says "-1 is followed by 840", of Kafka's own too.
COMPLAINT = re.compile(r"(?i)mismatch|out of order|\d+ invalid bytes|isvalid: false|exception|corrupt|not valid|unknown|failed"
                       r"|^ *\d+ is followed by")


def make_topics(moldau):
    small = {"segment.bytes": str(SEGMENT_BYTES), "index.interval.bytes": "2048"}
    topics = [NewTopic(f"codec-{codec}", 1, 1, config=small) for codec in CODECS]
    topics += [
        NewTopic("idempotent", 2, 1, config=small),
        NewTopic("plain", 1, 1, config=small),
        NewTopic("broker-time", 1, 1, config={**small, "message.timestamp.type": "LogAppendTime"}),
        NewTopic("compacted", 1, 1, config={**small, "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"}),
    ]
    admin = AdminClient({"bootstrap.servers": moldau.bootstrap})
    for future in admin.create_topics(topics).values():
        future.result(10)


def produce_with_librdkafka(moldau, topic, records, partitions=1, **settings):
    """About 1.2 KB a record that compresses by half, keys that come again, times that go back and forth."""
    producer = Producer({"bootstrap.servers": moldau.bootstrap, "linger.ms": 2, "batch.size": 30000,
                         "queue.buffering.max.messages": 1000000, **settings})
    failed, start_ms = [], int(time.time() * 1000) - 3_600_000
    for n in range(records):
        value = random.Random(n).randbytes(600) + b"pageview" * 75
        producer.produce(topic, key=f"user{n % 50}", value=value, partition=n % partitions,
                         timestamp=start_ms + n * 10 - (n % 7) * 1000, headers=[("h", b"1"), ("h", None)],
                         on_delivery=lambda error, _: error and failed.append(error))
        producer.poll(0)
    assert producer.flush(60) == 0 and not failed, failed[:3]


def produce_with_kafka_python(moldau, topic, records):
    producer = KafkaProducer(bootstrap_servers=moldau.bootstrap, acks="all", batch_size=20000, linger_ms=2)
    for n in range(records):
        producer.send(topic, key=b"user%d" % (n % 50), value=b"%d" % n * 200)
    producer.flush(60)
    producer.close()


def commit(moldau, group, commits):
    """A group with a member, so that its metadata is stored, and many commits."""
    consumer = Consumer({"bootstrap.servers": moldau.bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False})
    consumer.subscribe(["plain"])
    eventually(lambda: consumer.poll(0.1) is not None, message="the first record")
    for n in range(1, commits + 1):
        consumer.commit(offsets=[TopicPartition("plain", 0, n)], asynchronous=n % 20 != 0)
    consumer.close()


def dump(java, files, *options):
    text, complaints = look(java, files, *options)
    assert not complaints, complaints[:10]
    return text


def look(java, files, *options):
    result = java("kafka-dump-log", *options, "--files", ",".join(map(str, files)), timeout=300)
    if result.returncode != 0:
        return result.stdout, [result.stderr[-2000:]]
    lines = (result.stdout + result.stderr).splitlines()
    complaints = [line for line in lines if COMPLAINT.search(line) and not line.startswith("SLF4J")]
    found = re.findall(r"^Dumping (\S+)$", result.stdout, re.MULTILINE)
    assert found == list(map(str, files)), "every file was looked at"
    return result.stdout, complaints


def files(moldau, pattern, suffixes):
    data = moldau.folder / "data"
    return sorted(path for folder in data.glob(pattern) for path in folder.iterdir() if path.suffix in suffixes)


@pytest.fixture
def written(start_moldau):
    """A broker that wrote something of everything and was stopped."""
    moldau = start_moldau(log_cleaner_backoff_ms=100, offsets_topic_num_partitions=2,
                          offsets_topic_segment_bytes=SEGMENT_BYTES)
    make_topics(moldau)
    for codec in CODECS:
        produce_with_librdkafka(moldau, f"codec-{codec}", 2500, **{"compression.type": codec})
    produce_with_librdkafka(moldau, "idempotent", 5000, partitions=2, **{"enable.idempotence": True})
    produce_with_librdkafka(moldau, "broker-time", 2500)
    produce_with_librdkafka(moldau, "compacted", 2500, **{"compression.type": "lz4"})
    produce_with_kafka_python(moldau, "plain", 3000)
    for group in ("one", "two", "three"):
        commit(moldau, group, 300)
    admin = AdminClient({"bootstrap.servers": moldau.bootstrap})
    admin.delete_consumer_groups(["two"])["two"].result(10)
    eventually(lambda: sum(path.stat().st_size for path in files(moldau, "compacted-0", {".log"})) < SEGMENT_BYTES,
               message="the cleaner's pass")
    moldau.stop()
    return moldau


def test_dump_log_segments_finds_nothing_to_complain_about(written, java):
    logs = files(written, "[!_]*-[0-9]", {".log"})
    for topic, partitions in [*((f"codec-{codec}", 1) for codec in CODECS), ("idempotent", 2), ("plain", 1),
                              ("broker-time", 1)]:
        segments = sum(path.parent.name.startswith(f"{topic}-") for path in logs)
        assert segments > partitions, f"{topic} was rolled"
    whole = [path for path in logs if not path.parent.name.startswith("compacted")]
    text = dump(java, whole, "--deep-iteration")
    assert text.count("| offset: ") == 5 * 2500 + 5000 + 2500 + 3000, "every record is there once"
    for codec in CODECS:
        assert f"compresscodec: {codec} " in text
    assert "CreateTime: " in text and "LogAppendTime: " in text
    assert re.search(r"baseSequence: [1-9]\d* lastSequence: \d+ producerId: \d+ producerEpoch: 0", text)

    # A log that was compacted has holes, which only the deep look takes for a fault.
    compacted = [path for path in logs if path.parent.name.startswith("compacted")]
    text = dump(java, compacted)
    first = [int(line.split()[1]) for line in text.splitlines() if line.startswith("baseOffset: ")]
    assert first == sorted(first) and len(first) < 2500

    # An active segment that never filled a run of entries has an index too, for the shutdown was clean.
    indexes = files(written, "*-[0-9]", {".index", ".timeindex", ".snapshot"})
    names = {path.name for path in indexes if path.parent.name == "plain-0"}
    assert all(path.with_suffix(suffix).name in names for path in files(written, "plain-0", {".log"})
               for suffix in (".index", ".timeindex"))
    assert any(path.suffix == ".snapshot" for path in indexes)
    dump(java, indexes, "--deep-iteration")
    dump(java, [path for path in indexes if path.suffix == ".index"], "--index-sanity-check")


def test_our_own_dump_log_says_what_kafkas_says(written, java, tools):
    def said(run, *arguments):
        result = run("kafka-dump-log", *arguments, timeout=300)
        return result.stdout.splitlines(), sorted(line for line in result.stderr.splitlines() if not line.startswith("SLF4J"))

    kinds = [(".log", "--deep-iteration"), (".index",), (".timeindex",), (".snapshot",), (".index", "--index-sanity-check")]
    for suffix, *options in kinds:
        names = ",".join(map(str, files(written, "[!_]*-[0-9]", {suffix})))
        ours, kafkas = (said(run, *options, "--files", names) for run in (tools, java))
        for mine, theirs in zip(ours, kafkas, strict=True):
            differing = [pair for pair in zip(mine, theirs, strict=False) if pair[0] != pair[1]]
            assert not differing and len(mine) == len(theirs), (suffix, differing[:3], len(mine), len(theirs))
    names = ",".join(map(str, files(written, "plain-0", {".log"})))
    assert said(tools, "--print-data-log", "--files", names) == said(java, "--print-data-log", "--files", names)
    path = written.folder / "data" / "plain-0" / "00000000000000000000.index"
    good = path.read_bytes()
    # Another offset than that of the batch that the first entry leads to.
    path.write_bytes(good[:3] + bytes([good[3] ^ 1]) + good[4:])
    ours, kafkas = (said(run, "--files", path) for run in (tools, java))
    assert ours == kafkas and any("Mismatches" in line for line in ours[1])


def same_decoded(java, tools, logs, *options):
    """What ours makes of records of Kafka's own topics, and that Kafka's makes the same of them."""
    ours, kafkas = (run("kafka-dump-log", *options, "--files", ",".join(map(str, logs)), timeout=300).stdout.splitlines()
                    for run in (tools, java))
    differing = [pair for pair in zip(ours, kafkas, strict=False) if pair[0] != pair[1]]
    assert not differing and len(ours) == len(kafkas), (differing[:3], len(ours), len(kafkas))
    records = [line for line in ours if line.startswith("| offset")]
    assert any("payload: {" in line for line in records) and not any("skipping" in line for line in records)
    return "\n".join(records)


def test_our_decoders_say_what_kafkas_say_of_transactions_and_of_groups_of_both_protocols(start_moldau, java, tools):
    moldau = start_moldau(offsets_topic_num_partitions=1, transaction_state_log_num_partitions=1)
    admin = AdminClient({"bootstrap.servers": moldau.bootstrap})
    admin.create_topics([NewTopic("plain", 2, 1)])["plain"].result(10)
    for name, ends in (("one", ["commit_transaction", "abort_transaction"]), ("two", ["commit_transaction"])):
        producer = Producer({"bootstrap.servers": moldau.bootstrap, "transactional.id": name})
        producer.init_transactions(30)
        for end in ends:
            producer.begin_transaction()
            producer.produce("plain", b"v")
            getattr(producer, end)(30)
    for protocol in ("classic", "consumer"):
        consumer = Consumer({"bootstrap.servers": moldau.bootstrap, "group.id": protocol, "group.protocol": protocol,
                             "auto.offset.reset": "earliest"})
        consumer.subscribe(["plain"] if protocol == "classic" else ["^pl.*"])
        eventually(lambda: (message := consumer.poll(0.1)) is not None and not message.error(), message="a record")
        consumer.commit(asynchronous=False)
        consumer.close()
    moldau.stop()
    text = same_decoded(java, tools, files(moldau, "__consumer_offsets-0", {".log"}), "--offsets-decoder")
    for kind in (1, 2, 3, 5, 6, 7, 8):
        assert f'"type":"{kind}"' in text, kind
    text = same_decoded(java, tools, files(moldau, "__transaction_state-0", {".log"}), "--transaction-log-decoder")
    assert '"transactionalId":"two"' in text and '"topic":"plain"' in text
    bare = files(moldau, "__transaction_state-0", {".log"})
    same = [run("kafka-dump-log", "--transaction-log-decoder", "--skip-record-metadata", "--files", bare[0]).stdout for run in (tools, java)]
    assert same[0] == same[1] and "| key: {" in same[0]


def test_dump_log_segments_would_complain(written, java):
    """The two tests beside this one can fail: one changed byte in each kind of file is found."""
    for name, at in [("00000000000000000000.log", 100), ("00000000000000000000.index", 7),
                     ("00000000000000000000.timeindex", 7)]:
        path = written.folder / "data" / "plain-0" / name
        good = path.read_bytes()
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
        _, complaints = look(java, [path], "--deep-iteration")
        path.write_bytes(good)
        assert complaints, name


def test_dump_log_segments_decodes_the_offsets_topic(written, java, tools):
    logs = files(written, "__consumer_offsets-[0-9]", {".log"})
    text = dump(java, logs, "--offsets-decoder")
    same_decoded(java, tools, logs, "--offsets-decoder")
    commits = re.findall(r'"group":"(\w+)","topic":"plain","partition":0.*?"offset":(\d+)', text)
    assert {group for group, _ in commits} == {"one", "two", "three"}, text[:3000]
    assert ("one", "300") in commits and ("three", "300") in commits
    assert re.search(r'"protocolType":"consumer"', text), "a group's own record"
    assert re.search(r'"group":"two"[^|]*payload: (null|<DELETE>)', text), "a deleted group leaves tombstones"
