"""What people wait for: the console's page, metrics, commands, completions; and what a node costs while nobody asks.

    python tests/bench/pleasure.py [--binary target/release/moldau]

A benchmark, not a test: it prints a table with what each figure is to be, and fails only where something does not work."""

import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOPICS = 1000
ROUNDS = 20
IDLE_SECONDS = 30


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle(pids):
    """Percent of a core that the busiest of these takes while nothing is asked of it."""
    before = {pid: cpu_seconds(pid) for pid in pids}
    began = time.monotonic()
    time.sleep(IDLE_SECONDS)
    took = time.monotonic() - began
    return max((cpu_seconds(pid) - before[pid]) / took * 100 for pid in pids)


def milliseconds(run, rounds=ROUNDS):
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times), max(times)


def get(port, path):
    return urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30).read()


def command(binary, *words, **environment):
    def run():
        done = subprocess.run([binary, *words], capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return run


def page_interactive(port, page):
    """When the console's own mark says that a page can be used; of the second load as well, as a browser keeps what it has."""
    from selenium import webdriver
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1360,900"):
        options.add_argument(word)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    times = []
    try:
        for _ in range(9):
            driver.get("about:blank")
            driver.get(f"http://127.0.0.1:{port}/ui/#/{page}")
            for _ in range(200):
                at = driver.execute_script("return performance.getEntriesByName('interactive')[0]?.startTime")
                if at:
                    times.append(at)
                    break
                time.sleep(0.05)
    finally:
        driver.quit()
    assert len(times) == 9, times
    return statistics.median(times), max(times)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--binary", default=os.environ.get("MOLDAU_BINARY", str(ROOT / "target" / "release" / "moldau")))
    arguments.add_argument("--only", help="the part to run: idle, three or busy")
    chosen = arguments.parse_args()
    binary = chosen.binary
    os.environ["MOLDAU_BINARY"] = binary
    sys.path.insert(0, str(ROOT / "tests" / "clients"))
    from conftest import Moldau
    rows = []

    def row(name, figure, most, unit, worst=None):
        verdict = "met" if figure <= most else "SHORT"
        rows.append((name, f"{figure:.1f}", "" if worst is None else f"{worst:.1f}", f"{most:g}", unit, verdict))
        print(f"{rows[-1][0]:52} {rows[-1][1]:>8} {rows[-1][2]:>8} {rows[-1][3]:>6} {unit:4} {verdict}", flush=True)

    print(f"{'':52} {'median':>8} {'worst':>8} {'wanted':>6}")
    with tempfile.TemporaryDirectory(prefix="pleasure-") as folder:
        if chosen.only in (None, "idle", "busy"):
            (pathlib.Path(folder) / "one").mkdir()
            node = Moldau(pathlib.Path(folder) / "one").start()
            try:
                if chosen.only != "busy":
                    row("one node, idle: processor", idle([node.process.pid]), 1, "%")
                if chosen.only != "idle":
                    busy(binary, node, row)
            finally:
                node.kill()
        if chosen.only in (None, "three"):
            three(binary, pathlib.Path(folder) / "three", row)
    return rows


def busy(binary, node, row):
    server = ["--bootstrap-server", node.bootstrap]
    names = [f"topic-{n:04}" for n in range(TOPICS)]
    file = node.folder / "topics.yaml"
    file.write_text("topics:\n" + "".join(f"  - {{name: {name}, partitions: 1}}\n" for name in names))
    command(binary, "apply", "--yes", "-f", str(file), *server)()
    produced = subprocess.run([binary, "produce", "topic-0000", *server], input="a\nb\n", text=True, capture_output=True, timeout=60)
    assert produced.returncode == 0, produced.stderr
    for page in ("overview", "topics", "topics/topic-0500"):
        median, worst = page_interactive(node.http_port, page)
        row(f"console, #/{page}, {TOPICS} topics: interactive", median, 200, "ms", worst)
    get(node.http_port, "/metrics")
    median, worst = milliseconds(lambda: get(node.http_port, "/metrics"))
    row(f"/metrics, {TOPICS} partitions", median, 20, "ms", worst)
    for words in (["topic", "list"], ["topic", "describe", "topic-0500"], ["group", "list"], ["cluster", "info"], ["cluster", "health"],
                  ["cluster", "quorum"], ["broker", "list"], ["config", "diff"], ["config", "explain", "retention.ms"], ["version"], ["--help"]):
        asks = words[0] in ("topic", "group", "cluster", "broker") or words == ["config", "diff"]
        median, worst = milliseconds(command(binary, *words, *(server if asks else [])))
        row(f"moldau {' '.join(words)}", median, 30, "ms", worst)
    for name, words in (("topics", ["--list"]), ("consumer-groups", ["--list"])):
        median, worst = milliseconds(command(binary, "compat", name, *words, *server))
        row(f"kafka-{name} {words[0]}", median, 30, "ms", worst)
    median, worst = milliseconds(command(binary, "names", "topics", "topic-00", *server))
    row("completion of a topic's name", median, 150, "ms", worst)
    row(f"one node, idle, {TOPICS} topics: processor", idle([node.process.pid]), 1, "%")


def three(binary, folder, row):
    """`moldau dev --nodes 3`, and its processes."""
    folder.mkdir()
    process = subprocess.Popen([binary, "dev", "--nodes", "3", "--port", "0", "--data-dir", str(folder / "data")], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        children = []
        while len(children) < 3 and time.monotonic() < deadline:
            time.sleep(0.2)
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 3, children
        time.sleep(10)
        row("three nodes, idle, the busiest: processor", idle([int(pid) for pid in children]), 1, "%")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


if __name__ == "__main__":
    main()
