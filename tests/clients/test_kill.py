"""kill -9 at any moment: what was acknowledged is there after the restart."""

import random
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from conftest import eventually

KILLS = 5


def test_acknowledged_topics_and_configs_survive_kill_9(moldau):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng, made = random.Random(seed), {}
    for round_number in range(KILLS):
        stop = threading.Event()

        def create(prefix=round_number):
            admin, n = AdminClient({"bootstrap.servers": moldau.bootstrap, "socket.timeout.ms": 2000}), 0
            while not stop.is_set():
                name, retention = f"t-{prefix}-{n}", str(60_000 + n)
                try:
                    admin.create_topics([NewTopic(name, 1, 1, config={"retention.ms": retention})],
                                        request_timeout=2)[name].result(3)
                    made[name] = retention
                except Exception:
                    pass  # unknown: the broker may or may not have made it
                n += 1

        thread = threading.Thread(target=create)
        thread.start()
        time.sleep(rng.uniform(0.2, 0.8))
        moldau.kill()
        stop.set()
        thread.join(30)
        moldau.start()
        admin = AdminClient({"bootstrap.servers": moldau.bootstrap})
        there = admin.list_topics(timeout=20).topics
        lost = [name for name in made if name not in there]
        assert not lost, f"seed {seed}: acknowledged, then gone: {lost}"
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in list(made)[:50]]
    for resource, future in admin.describe_configs(resources).items():
        assert future.result(20)["retention.ms"].value == made[resource.name]
    assert len(made) >= KILLS, "the run made too few topics to tell anything"


def test_acknowledged_records_and_offsets_survive_kill_9(moldau):
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng, acked, sent = random.Random(seed), {}, 0
    for _ in range(KILLS):
        producer = Producer({"bootstrap.servers": moldau.bootstrap, "acks": "all", "linger.ms": 2,
                             "enable.idempotence": True, "message.timeout.ms": 3000})

        def note(error, message):
            if error is None:
                acked[message.value()] = message.offset()

        end = time.monotonic() + rng.uniform(0.3, 1.0)
        while time.monotonic() < end:
            producer.produce("t", b"%d" % sent, partition=0, on_delivery=note)
            sent += 1
            producer.poll(0)
            time.sleep(0.0005)
        moldau.kill()
        producer.poll(0)
        moldau.start()
        producer.flush(10)
        consumer = Consumer({"bootstrap.servers": moldau.bootstrap, "group.id": "g", "enable.auto.commit": False})
        _, end_offset = consumer.get_watermark_offsets(TopicPartition("t", 0), timeout=20)
        assert all(offset < end_offset for offset in acked.values()), f"seed {seed}: acknowledged beyond the end"
        consumer.commit(offsets=[TopicPartition("t", 0, end_offset)], asynchronous=False)
        consumer.close()
        moldau.kill()  # at once: the commit was acknowledged
        moldau.start()
        consumer = Consumer({"bootstrap.servers": moldau.bootstrap, "group.id": "g"})
        assert consumer.committed([TopicPartition("t", 0)], timeout=20)[0].offset == end_offset
        consumer.close()
    consumer = Consumer({"bootstrap.servers": moldau.bootstrap, "group.id": "reader"})
    _, end_offset = consumer.get_watermark_offsets(TopicPartition("t", 0), timeout=20)
    consumer.assign([TopicPartition("t", 0, 0)])
    found = {}

    def step():
        for message in consumer.consume(500, 0.5):
            found[message.offset()] = message.value()
        return len(found) >= end_offset

    eventually(step, 30, "the whole log")
    consumer.close()
    wrong = {v: o for v, o in acked.items() if found.get(o) != v}
    assert not wrong, f"seed {seed}: {len(wrong)} acknowledged records are not where they were acknowledged"
    assert len(set(found.values())) == len(found), f"seed {seed}: a record is there twice"
    assert len(acked) > 100
