"""The clock that jumps jumps for the one process, and the monotonic ones do not."""

import os
import subprocess
import sys
import time

import pytest

import wall_clock

pytestmark = pytest.mark.skipif(wall_clock.why_no_shift() is not None, reason=str(wall_clock.why_no_shift()))


@pytest.fixture
def clock(tmp_path):
    return wall_clock.WallClock(tmp_path / "clock", wall_clock.build(tmp_path))


def told(clock, what):
    done = subprocess.run([sys.executable, "-c", f"import time; print({what})"], env={**os.environ, **clock.variables},
                          capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.parametrize("jump", [3_600, -3_600, 86_400, -86_400])
def test_the_wall_clock_jumps_and_the_monotonic_one_does_not(clock, jump):
    clock.shift(jump)
    assert abs(told(clock, "time.time()") - time.time() - jump) < 600
    assert abs(told(clock, "time.monotonic()") - time.monotonic()) < 600
    assert clock.shifted_readings() > 0


def test_without_a_shift_nothing_is_changed_and_nothing_is_counted(clock):
    assert abs(told(clock, "time.time()") - time.time()) < 600
    assert clock.shifted_readings() == 0


def test_a_running_process_is_told_at_once(clock):
    lines = "import sys, time\nfor _ in sys.stdin: print(time.time(), flush=True)"
    process = subprocess.Popen([sys.executable, "-c", lines], env={**os.environ, **clock.variables}, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask():
        process.stdin.write("\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    assert abs(ask() - time.time()) < 600
    clock.shift(86_400)
    assert abs(ask() - time.time() - 86_400) < 600
    process.stdin.close()
    process.wait(timeout=20)
