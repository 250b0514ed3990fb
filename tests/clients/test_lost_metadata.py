"""A node whose metadata log is gone refuses to start: a new, empty cluster beside the old one's records helps nobody."""

import shutil
import subprocess

import pytest


def refusal(node):
    done = subprocess.run(node.command(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    said = [line for line in done.stderr.splitlines() if line.startswith("moldau: ")]
    assert done.returncode == 1 and len(said) == 1, (done.returncode, done.stderr)
    return said[0]


@pytest.mark.parametrize("clean", [True, False])
def test_a_lost_metadata_log_is_refused_and_nothing_is_touched(start_moldau, tools, clean):
    node = start_moldau()
    made = tools("kafka-topics", "--bootstrap-server", node.bootstrap, "--create", "--topic", "orders")
    assert made.returncode == 0, made.stderr
    node.stop() if clean else node.kill()
    data = node.folder / "data"
    shutil.move(data / "__cluster_metadata", node.folder / "away")
    before = sorted(path.name for path in data.iterdir())
    assert "metadata log" in refusal(node)
    assert sorted(path.name for path in data.iterdir()) == before
    # Half of it gone is no better.
    shutil.copytree(node.folder / "away", data / "__cluster_metadata")
    shutil.rmtree(data / "__cluster_metadata" / "log")
    refusal(node)
    shutil.rmtree(data / "__cluster_metadata")
    (data / "meta.properties").rename(node.folder / "meta.properties")
    assert "meta.properties" in refusal(node)
    # Back in its place, all is as it was.
    (node.folder / "meta.properties").rename(data / "meta.properties")
    shutil.move(node.folder / "away", data / "__cluster_metadata")
    node.start()
    listed = tools("kafka-topics", "--bootstrap-server", node.bootstrap, "--list")
    assert listed.stdout.split() == ["orders"]
