#!/usr/bin/env python3
"""Everything of attacks.py against a real node whose memory is limited to 512 MiB: it is not killed for its memory, it does not
panic, and it serves others after each attack.

    hostile.py [--size short|nightly|soak] [--only WORD] [--seed N] [--figures FILE]"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import re
import resource
import socket
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))
import conftest  # noqa: E402

import attacks  # noqa: E402
import limits  # noqa: E402
import peer  # noqa: E402

LIMIT_BYTES = 512 << 20
TIMES = {"short": 1, "nightly": 5, "soak": 20}
FEW_FILES = 256
TOPICS = (attacks.TOPIC, "wide", "producers", "witness")
SKIPPED = 77


class Victim(conftest.Moldau):
    """A node in a control group of its own. `files` limits its file descriptors, too."""

    def __init__(self, folder, seed, files=None, **settings):
        super().__init__(folder, **settings)
        self.seed, self.files = seed, files
        self.limit = limits.MemoryLimit("moldau-hostile", LIMIT_BYTES)

    def command(self):
        command = super().command()
        if self.files:
            command = ["prlimit", f"--nofile={self.files}:{self.files}", *command]
        return self.limit.wrap(command)

    def start(self):
        super().start()
        assert self.limit.holds(self.process.pid), "the node is not in its control group"
        for topic in TOPICS:
            assert peer.create_topic(self.port, topic) == 0, topic
        conftest.eventually(self.serves, message="the first record")
        return self

    def served(self):
        return conftest.served(self.bootstrap)

    def serves(self):
        try:
            found = peer.produced(self.port, "witness", peer.batch(peer.record(b"witness")))
        except OSError:
            return False
        return found is not None and found[0] == 0

    def memory(self):
        """Resident now and at the most, in bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return tuple(int(re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)[1]) << 10 for name in ("VmRSS", "VmHWM"))

    def panics(self):
        return self.log_path.read_text(errors="replace").count("panicked at")

    def close(self):
        self.kill()
        self.limit.close()


def few_files(node, times):
    """More connections than there are files: the node takes as many as leave files for its logs, who was there before is served
    meanwhile, and everybody once they are gone."""
    count = 4 * FEW_FILES * times
    with contextlib.ExitStack() as held:
        for _ in range(count):
            s = held.enter_context(socket.socket())
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", node.port))
        conftest.eventually(lambda: "no more connections are taken until some end" in node.log(), message="no more are taken")
        open_files = len(os.listdir(f"/proc/{node.process.pid}/fd"))
        assert FEW_FILES // 2 <= open_files < FEW_FILES, f"{open_files} open files"
        assert node.witness.still_serves(), "a connection that was there before is not served"
    conftest.eventually(node.serves, message="served again")
    return count, f"connections at a node with {FEW_FILES} files"


class Witness:
    """A connection that was there before."""

    def __init__(self, node):
        self.socket = peer.connect(node.port)

    def still_serves(self):
        self.socket.sendall(peer.frame(peer.PRODUCE, 3, peer.produce_body("witness", peer.batch(peer.record(b"x")))))
        return len(peer.answer(self.socket)) > 0


def play(attack, node, times):
    """What the page shows of one attack, or what was wrong."""
    started, what = time.monotonic(), attack.__name__.replace("_", " ")
    row = {"attack": what, "verdict": "ok", "count": 0, "of": ""}
    try:
        row["count"], row["of"] = attack(node, times)
        assert node.process.poll() is None, f"the node ended with {node.process.returncode}"
        assert node.serves(), "the node does not serve others"
        assert node.panics() == 0, "the node panicked"
        assert node.limit.oom_kills() == 0, "something of the node was killed for its memory"
    except Exception as error:  # whatever it is, the other attacks have to be played, too
        row["verdict"], row["reason"] = "FAILED", f"{type(error).__name__}: {error}"[:500]
    row["seconds"] = round(time.monotonic() - started, 1)
    if node.process.poll() is None:
        resident, row["peak_mb"] = (round(size / 2**20) for size in node.memory())
        row["resident_mb"] = resident
    return row


def tell(row):
    print(f"{row['attack']:<34} {row['verdict']:<7} {row['seconds']:6.1f} s {row['count']:9} {row['of']:<44} resident "
          f"{row.get('resident_mb', '-')} MB, peak {row.get('peak_mb', '-')} MB", flush=True)
    if "reason" in row:
        print(f"    {row['reason']}", flush=True)


def run(options, folder):
    rows, kills = [], 0
    for name, files, chosen in (("node", None, attacks.ATTACKS), ("few-files", FEW_FILES, [few_files])):
        chosen = [attack for attack in chosen if not options.only or options.only in attack.__name__.replace("_", " ")]
        node = None
        for number, attack in enumerate(chosen):
            if node is None or node.process.poll() is not None:
                if node:
                    node.close()
                (folder / f"{name}-{number}").mkdir()
                node = Victim(folder / f"{name}-{number}", options.seed, files).start()
                node.witness = Witness(node)
            row = play(attack, node, TIMES[options.size])
            kills += row["verdict"] != "ok" and node.process.poll() is not None
            rows.append(row)
            tell(row)
            if row["verdict"] != "ok":
                print("    " + node.log()[-1000:].replace("\n", "\n    "), flush=True)
        if node:
            node.close()
    return rows, kills


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=TIMES, default="short")
    parser.add_argument("--only", help="the attacks with this in their names")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--figures", help="a file to which a line of JSON is added")
    options = parser.parse_args()
    why_not = limits.why_no_limit()
    if why_not:
        print(f"skipped: {why_not}")
        return SKIPPED
    # Thousands of sockets at once.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"seed {options.seed}, memory limited to {LIMIT_BYTES >> 20} MiB, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="moldau-hostile-") as folder:
        rows, kills = run(options, pathlib.Path(folder))
    failed = sum(row["verdict"] != "ok" for row in rows)
    peak = max((row.get("peak_mb", 0) for row in rows), default=0)
    if options.figures:
        with open(options.figures, "a") as file:
            file.write(json.dumps({"size": options.size, "seed": options.seed, "limit_mb": LIMIT_BYTES >> 20, "kills": kills,
                                   "peak_mb": peak, "attacks": rows}) + "\n")
    print(f"{len(rows) - failed} passed, {failed} failed; peak {peak} MB of {LIMIT_BYTES >> 20} MiB, {kills} kills")
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
