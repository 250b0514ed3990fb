"""A cluster has an identity of its own, and so has a node: what is left over from another cluster of the same configuration
is refused and stays as it was, and of two brokers of one node.id the second one ends."""

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import Moldau, eventually


def refusal(node, seconds):
    """The one line with which a node ends by itself."""
    done = subprocess.run(node.command(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    said = [line for line in done.stderr.splitlines() if line.startswith("moldau: ")]
    assert done.returncode == 1 and len(said) == 1, (done.returncode, done.stderr)
    return said[0]


def cluster_id(node):
    lines = (node.folder / "data" / "meta.properties").read_text().splitlines()
    return next(line.split("=", 1)[1] for line in lines if line.startswith("cluster.id="))


def start(*nodes):
    with ThreadPoolExecutor() as pool:
        list(pool.map(Moldau.start, nodes))


def spawn(node):
    log = open(node.log_path, "ab")
    node.process = subprocess.Popen(node.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@pytest.fixture
def nodes(tmp_path):
    """Three nodes, each broker and controller, to which nobody gives a cluster's id."""
    nodes = []
    for node_id in (1, 2, 3):
        folder = tmp_path / f"node-{node_id}"
        folder.mkdir()
        nodes.append(Moldau(folder, node_id=node_id, offsets_topic_replication_factor=3))
    voters = ",".join(f"{n}@127.0.0.1:{node.controller_port}" for n, node in enumerate(nodes, 1))
    for node in nodes:
        node.settings["controller.quorum.voters"] = voters
    yield nodes
    for node in nodes:
        node.kill()
        assert "panicked at" not in node.log(), node.log()


def test_what_is_left_of_an_older_cluster_is_refused_and_stays_as_it_was(nodes, tools):
    start(*nodes)
    first, second, third = nodes
    older = cluster_id(first)
    assert [cluster_id(node) for node in nodes] == [older] * 3
    made = tools("kafka-topics", "--bootstrap-server", first.bootstrap, "--create", "--topic", "orders",
                 "--replication-factor", "3")
    assert made.returncode == 0, made.stderr
    first.stop()
    second.kill()
    third.kill()
    for node in (first, second):
        shutil.move(node.folder / "data", node.folder / "away")

    # A minority with data is there: nobody founds, neither anew nor in its name.
    for node in nodes:
        spawn(node)
    waits = f"of cluster {older} only the controllers [3] answer"
    eventually(lambda: waits in first.log() and waits in second.log(), 30, "word of the minority")
    time.sleep(2)
    assert not any((node.folder / "data" / "meta.properties").exists() for node in (first, second))
    for node in nodes:
        node.kill()

    # It is away: a new cluster, which does not take the old one's node.
    start(first, second)
    newer = cluster_id(first)
    assert newer == cluster_id(second) != older
    before = {path: path.read_bytes() for path in (third.folder / "data").glob("orders-0/*") if path.is_file()}
    assert before
    told = refusal(third, 30)
    for part in (str(third.folder / "data"), older, newer, "start with another log.dirs"):
        assert part in told, told
    assert any(f"127.0.0.1:{node.controller_port}" in told for node in (first, second)), told
    assert before == {path: path.read_bytes() for path in before}
    listed = tools("kafka-topics", "--bootstrap-server", first.bootstrap, "--list")
    assert listed.stdout.split() == [] and cluster_id(third) == older
    # A good node that starts while the old one is there comes in.
    spawn(third)
    second.stop()
    second.start()
    third.kill()

    # Nothing was lost: with its own others the old one is as it was.
    for node in (first, second):
        node.kill()
        shutil.rmtree(node.folder / "data")
        shutil.move(node.folder / "away", node.folder / "data")
    start(*nodes)
    listed = tools("kafka-topics", "--bootstrap-server", third.bootstrap, "--list")
    assert listed.stdout.split() == ["orders"] and cluster_id(first) == older

    # And a node without data comes back by itself, into the same cluster.
    second.kill()
    shutil.rmtree(second.folder / "data")
    second.start()
    assert cluster_id(second) == older


def test_the_second_broker_of_a_node_id_is_told_of_the_first_and_ends(tmp_path):
    named = {}
    for name in ("controller", "first", "second"):
        (tmp_path / name).mkdir()
        role = "controller" if name == "controller" else "broker"
        named[name] = Moldau(tmp_path / name, process_roles=role, broker_session_timeout_ms=3000,
                             broker_heartbeat_interval_ms=500)
    controller, first, second = named.values()
    quorum = f"7@127.0.0.1:{controller.controller_port}"
    for node in named.values():
        node.settings["controller.quorum.voters"] = quorum
    for broker in (first, second):
        broker.settings["listeners"] = f"PLAINTEXT://127.0.0.1:{broker.port}"
    controller.settings.update({"node.id": "7", "listeners": f"CONTROLLER://127.0.0.1:{controller.controller_port}"})
    del controller.settings["advertised.listeners"]
    controller.port = controller.controller_port
    try:
        controller.start()
        first.start()
        begun = time.monotonic()
        told = refusal(second, 30)
        assert time.monotonic() - begun >= 3, "it may have been an earlier start of the same"
        assert "node.id 1" in told and f"PLAINTEXT://127.0.0.1:{first.port}" in told, told
        # The first one goes on, and started again it waits for nobody but itself.
        assert first.process.poll() is None
        first.kill()
        first.start()
        eventually(lambda: first.log().count("state=Running") == 2, 20, "the first one's service")

        # Nor is a broker taken in that is left over from the cluster of another controller.
        older = cluster_id(first)
        first.kill()
        controller.kill()
        shutil.rmtree(controller.folder / "data")
        controller.start()
        told = refusal(first, 30)
        for part in (str(first.folder / "data"), older, cluster_id(controller), f"127.0.0.1:{controller.port}"):
            assert part in told, told
    finally:
        for node in (first, controller):
            node.kill()
            assert "panicked at" not in node.log(), node.log()
