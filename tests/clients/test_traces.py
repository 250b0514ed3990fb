"""A produce request's whole way in one trace, as a collector gets it over OTLP."""

import http.server
import queue
import threading

import pytest
from confluent_kafka import Producer

from conftest import eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OTHER_TRACE, OTHER = "1af7651916cd43dd8448eb211c80319c", "c7ad6b7169203331"


def fields(data):
    """A protobuf message's fields, by number: lists of numbers, or of bytes where they have a length or are fixed."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            found.setdefault(tag >> 3, []).append(varint())
            continue
        length = {1: 8, 5: 4}.get(kind) or varint()
        found.setdefault(tag >> 3, []).append(data[at:at + length])
        at += length
    return found


def spans_of(body):
    for resource_spans in fields(body)[1]:
        resource_spans = fields(resource_spans)
        resource = {fields(a)[1][0].decode(): fields(fields(a)[2][0]).get(1, [b""])[0].decode()
                    for a in fields(resource_spans[1][0])[1]}
        for scope_spans in resource_spans[2]:
            for span in fields(scope_spans)[2]:
                span = fields(span)
                yield {
                    "trace": span[1][0].hex(), "id": span[2][0].hex(), "parent": span.get(4, [b""])[0].hex(),
                    "name": span[5][0].decode(), "resource": resource,
                    "start": int.from_bytes(span[7][0], "little"), "end": int.from_bytes(span[8][0], "little"),
                    "links": [fields(link)[2][0].hex() for link in span.get(13, [])],
                    "attributes": {fields(a)[1][0].decode() for a in span.get(9, [])},
                }


@pytest.fixture
def collector():
    """An OTLP collector on a free port: its address, and the spans it gets."""
    spans = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
            for span in spans_of(self.rfile.read(int(self.headers["Content-Length"]))):
                spans.put(span)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()


def test_a_record_is_followed_from_its_producer_to_its_acknowledgement(start_moldau, collector, monkeypatch):
    endpoint, spans = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "orders-log")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    node = start_moldau()
    producer = Producer({"bootstrap.servers": node.bootstrap, "acks": "all", "linger.ms": 500})
    for trace, parent in ((TRACE, PARENT), (OTHER_TRACE, OTHER)):
        producer.produce("traced", b"v", partition=0, headers={"traceparent": f"00-{trace}-{parent}-01"})
    assert producer.flush(60) == 0
    got = []

    def whole():
        while not spans.empty():
            got.append(spans.get())
        names = {span["name"] for span in got if span["trace"] == TRACE}
        return names == {"produce", "receive", "append", "replicate", "ack"}

    eventually(whole, 30, "the whole trace")
    root, = (span for span in got if span["name"] == "produce" and span["trace"] == TRACE)
    assert root["parent"] == PARENT and root["links"] == [OTHER]
    assert root["resource"]["service.name"] == "orders-log"
    assert {"messaging.destination.name", "messaging.kafka.offset"} <= root["attributes"]
    steps = sorted((span for span in got if span["parent"] == root["id"]), key=lambda span: span["start"])
    assert [span["name"] for span in steps] == ["receive", "append", "replicate", "ack"]
    assert steps[0]["start"] == root["start"] and steps[-1]["end"] == root["end"]
    assert all(one["end"] == other["start"] for one, other in zip(steps, steps[1:]))


def test_a_collector_that_cannot_be_used_is_told_of_and_keeps_nobody_waiting(start_moldau, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1")
    node = start_moldau()
    assert "no traces: the endpoint https://127.0.0.1:1" in node.log()
    producer = Producer({"bootstrap.servers": node.bootstrap, "acks": "all"})
    producer.produce("not-traced", b"v")
    assert producer.flush(60) == 0
