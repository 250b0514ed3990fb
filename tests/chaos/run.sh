#!/usr/bin/env bash
# Chaos on real processes.
#   tests/chaos/run.sh unit                   the judge's and the tools' own tests
#   tests/chaos/run.sh short [OPTIONS]        every kind of fault a few times: what CI runs, minutes
#   tests/chaos/run.sh nightly [OPTIONS]      500 kills of leaders, 60 rolling restarts, 400 losses of power and more: hours
#   tests/chaos/run.sh soak [OPTIONS]         every kind of fault as often as is wanted of most in all, half a day
#   tests/chaos/run.sh producer-ids [OPTIONS] a million producer ids and 200 kills of controllers; --count N, --kills N
#   tests/chaos/run.sh clocks [OPTIONS]       how long it takes until the next acknowledgement; memory
# OPTIONS: --kafka, --only NAME, --count N, --seed N, --times N, --keep FOLDER, --minutes N, --figures FILE (of these three);
# see clocks --help
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export MOLDAU_TEST_SETUP=${MOLDAU_TEST_SETUP:-$here/../.setup}
python=$MOLDAU_TEST_SETUP/venv/bin/python
case ${1:-} in
  unit) shift; exec "$python" -m pytest -q -p no:cacheprovider "$here" "$@" ;;
  producer-ids) shift; exec "$python" "$here/producer_ids.py" "$@" ;;
  clocks) shift; exec "$python" "$here/clocks.py" "$@" ;;
  short | nightly | soak)
    # The whole set begins with its own tools; a part of it is for who has seen them pass.
    if [ $# = 1 ]; then "$here/run.sh" unit; fi
    exec "$python" "$here/main.py" "$@"
    ;;
  *) sed -n '2,10p' "$0"; exit 2 ;;
esac
