"""Every API and version, answer by answer, against a real Apache Kafka (tests/tests/compare.rs has the requests)."""

import os
import subprocess

from conftest import ROOT


def test_every_answer_is_apache_kafkas(moldau, kafka):
    done = subprocess.run(
        ["cargo", "test", "--locked", "-p", "moldau-tests", "--test", "compare", "--", "--nocapture"], cwd=ROOT, text=True,
        capture_output=True, timeout=900,
        env={**os.environ, "COMPARE_KAFKA": kafka.bootstrap, "COMPARE_MOLDAU": moldau.bootstrap})
    print(done.stdout[-2000:], done.stderr[-20000:])
    assert done.returncode == 0
    assert " answers compared, 0 differ" in done.stderr
