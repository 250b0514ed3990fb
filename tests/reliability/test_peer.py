"""What the hostile peer calls a good batch is one to a stock client, too: else every refusal would be its own fault."""

import subprocess

import pytest
from kafka.record.default_records import DefaultRecordBatch

import limits
import peer


def test_the_checksum_is_crc32c():
    assert peer.crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("value", [b"", b"x", b"y" * 300])
def test_a_good_batch_is_good(value):
    found = DefaultRecordBatch(peer.batch(peer.record(value)))
    assert found.validate_crc()
    assert [record.value for record in found] == [value]


def test_a_field_that_is_said_replaces_what_would_be_right():
    assert not DefaultRecordBatch(peer.batch(peer.record(b"x"), crc=1)).validate_crc()
    found = DefaultRecordBatch(peer.batch(peer.record(b"x"), last_delta=7))
    assert found.validate_crc() and found.last_offset_delta == 7


def test_a_limit_holds_who_is_in_it():
    why_not = limits.why_no_limit()
    if why_not:
        pytest.skip(why_not)
    limit = limits.MemoryLimit("moldau-test", 64 << 20)
    try:
        greedy = "import sys; x = bytearray(256 << 20); sys.exit(7)"
        done = subprocess.run(limit.wrap(["python3", "-c", greedy]), check=False)
        assert done.returncode == -9 and limit.oom_kills() == 1
    finally:
        limit.close()
