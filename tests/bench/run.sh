#!/usr/bin/env bash
# Moldau beside Apache Kafka 4.3.0 and beside what the machine can do; writes docs/BENCHMARKS.md and its plots.
#   tests/bench/run.sh                  everything: hours
#   tests/bench/run.sh --quick          small loads, fewer rounds
#   tests/bench/run.sh --only WORD      the lines with the word in their names; the page keeps the others' last figures
#   tests/bench/run.sh --list           the lines
#   tests/bench/run.sh --page           the page alone, from the figures of the last runs
# Needs tests/setup.sh. MOLDAU_BINARY names another binary than a release build of this tree.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec "${MOLDAU_TEST_SETUP:-tests/.setup}/venv/bin/python" tests/bench/compare.py "$@"
