"""Every API and version, answer by answer, against a real Apache Kafka (tests/tests/compare.rs has the requests)."""

import os
import subprocess

from conftest import ROOT


# What Kafka's file in conftest.py says: settings are compared, too.
AS_KAFKA = {key: 1 for key in (
    "offsets_topic_replication_factor", "transaction_state_log_replication_factor", "transaction_state_log_min_isr",
    "share_coordinator_state_topic_replication_factor", "share_coordinator_state_topic_min_isr")}


def test_every_answer_is_apache_kafkas(start_moldau, kafka):
    moldau = start_moldau(process_roles="broker,controller", **AS_KAFKA)
    done = subprocess.run(
        ["cargo", "test", "--locked", "-p", "moldau-tests", "--test", "compare", "--", "--nocapture"], cwd=ROOT, text=True,
        capture_output=True, timeout=900,
        env={**os.environ, "COMPARE_KAFKA": kafka.bootstrap, "COMPARE_MOLDAU": moldau.bootstrap})
    print(done.stdout[-2000:], done.stderr[-20000:])
    assert done.returncode == 0
    assert " answers compared, 0 differ" in done.stderr
