#!/usr/bin/env bash
# Everything that says how far Moldau can be trusted, and the page that shows it, docs/RELIABILITY.md.
#   tests/reliability/run.sh ci          a few of each kind, minutes; a twentieth of what is wanted of kills of leaders, rolling restarts and seeds
#   tests/reliability/run.sh nightly     two hours; what is wanted of kills, restarts, losses of power and seeds
#   tests/reliability/run.sh soak        half a day; what is wanted of most faults
#   tests/reliability/run.sh page        the page alone, from the figures of all runs that are kept
# OPTIONS: --only PART (chaos kafka clocks simulation bugs cuts hostile fuzz authorization containers upgrade; may be repeated),
#   --add FILE keeps what tests/chaos/run.sh --figures FILE found, at this commit,
#   --anew forgets what earlier runs of these parts found, --minutes N of chaos, -- OPTIONS of tests/chaos/run.sh
# Needs tests/setup.sh, and a release build of this tree or MOLDAU_BINARY.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
export MOLDAU_TEST_SETUP=${MOLDAU_TEST_SETUP:-$PWD/tests/.setup}
exec "$MOLDAU_TEST_SETUP/venv/bin/python" "$here/run.py" "$@"
