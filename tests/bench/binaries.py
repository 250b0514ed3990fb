#!/usr/bin/env python3
"""Builds of Moldau beside one another under the same load, in turn, several rounds: what a change gave.

    tests/.setup/venv/bin/python tests/bench/binaries.py before=PATH after=target/release/moldau [--load 100:10:1:60]...

A load is record bytes, records in a batch, partitions in a request, megabytes, and, if given, connections; --codec compresses. `kafka` as a path is
Apache Kafka 4.3.0. Prints one line for each run: MB/s, requests/s, the server's processor time for each gigabyte and request. With
`--syscalls`, what each request costs of those that matter (needs perf)."""

import argparse
import os
import pathlib
import subprocess
import tempfile
import time
import uuid

from systems import Node, conftest, load

LOADS = ["100:10:1:60", "100:10:6:90", "1024:10:10:300", "10240:10:1:1500"]
SYSCALLS = ["futex", "fdatasync", "pwrite64", "pwritev", "pread64", "writev", "recvfrom", "epoll_wait", "write", "sched_yield"]
COUNTED = ",".join(f"syscalls:sys_enter_{name}" for name in SYSCALLS) + ",context-switches,cpu-migrations"


def run(node, name, text, codec, counts):
    record_bytes, records, partitions, megabytes, *connections = map(int, text.split(":"))
    topic = uuid.uuid4().hex
    node.make_topic(topic, partitions)
    os.sync()  # what others left in the page cache
    arguments = [record_bytes, records, megabytes, partitions, *(f"connections={count}" for count in connections),
                 f"codec={codec}"]
    request_bytes = record_bytes * records * (1 if connections else partitions)
    counting = counts and subprocess.Popen(["perf", "stat", "-x", ";", "-e", COUNTED, "-p", str(node.pid)],
                                           stderr=subprocess.PIPE, text=True)
    if counting:
        time.sleep(0.5)
    before = node.cpu_seconds()
    mb_s = load("produce", node.bootstrap, topic, *arguments)
    spent = node.cpu_seconds() - before
    print(f"{text} {name}: {mb_s:.1f} MB/s, {mb_s * 1e6 / request_bytes:.0f} requests/s, {spent / megabytes * 1e3:.2f} s/GB, "
          f"{spent * request_bytes / megabytes:.1f} us for each request", flush=True)
    if counting:
        counting.send_signal(2)
        for line in counting.communicate()[1].splitlines():
            count, _, event, *_ = line.split(";")
            if count.isdigit():
                print(f"    {int(count) * request_bytes / megabytes / 1e6:8.3f} {event.rpartition('sys_enter_')[2]}")
    node.delete_topic(topic)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binaries", nargs="+", metavar="NAME=PATH")
    parser.add_argument("--load", action="append", metavar="BYTES:RECORDS:PARTITIONS:MEGABYTES[:CONNECTIONS]")
    parser.add_argument("--codec", default="none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--syscalls", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moldau-binaries-") as folder:
        nodes = {}
        try:
            for name, path in (binary.split("=", 1) for binary in options.binaries):
                kind = "kafka" if path == "kafka" else "moldau"
                if kind == "moldau":
                    conftest.BINARY = pathlib.Path(path).resolve()
                nodes[name] = Node(kind, pathlib.Path(folder) / name)
                run(nodes[name], f"{name}, to warm up", "1024:100:2:300", "none", False)
            for text in options.load or LOADS:
                for _ in range(options.rounds):
                    for name, node in nodes.items():
                        run(node, name, text, options.codec, options.syscalls)
        finally:
            for node in nodes.values():
                node.stop()


if __name__ == "__main__":
    main()
