#!/usr/bin/env bash
# Sets up and passes the tests: the README's second command, and what CI runs.
#   tests/run.sh                    all stages
#   tests/run.sh STAGE...           some of: setup check unit build instructions simulation harness clients containers cluster hostile chaos,
#                                   and kubernetes and upgrade, which run by name alone
# Each stage prints its minutes; a part that cannot run here says `skipped` and why, and is not counted as passed.
set -uo pipefail
cd "$(dirname "$0")/.."
export MOLDAU_TEST_SETUP=${MOLDAU_TEST_SETUP:-$PWD/tests/.setup}
export CARGO_NET_RETRY=5 CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
if command -v mold >/dev/null 2>&1; then export RUSTFLAGS="${RUSTFLAGS:-} -C link-arg=-fuse-ld=mold"; fi
python=$MOLDAU_TEST_SETUP/venv/bin/python
report=()
failed=0
printed=$(mktemp)
trap 'rm -f "$printed"' EXIT

stage_setup() { tests/setup.sh; }
stage_check() {
  cargo fmt --all --check &&
    cargo clippy --workspace --all-targets --all-features --locked -- -D warnings &&
    cargo deny --log-level error check bans licenses sources && check_advisories
}
# The advisory database is a git repository outside every package registry: where it cannot be fetched, say so.
check_advisories() {
  local output
  output=$(cargo deny --log-level error check advisories 2>&1) && { echo "advisories ok"; return 0; }
  if grep -q 'failed to fetch advisory database' <<<"$output"; then
    echo "skipped: advisories (the advisory database cannot be fetched from here)"
    return 0
  fi
  printf '%s\n' "$output"
  return 1
}
stage_unit() { cargo test --workspace --all-features --locked --no-fail-fast; }
stage_build() { cargo build --release --locked; }
# The hot paths' instructions against the committed baseline.
stage_instructions() { tests/bench/instructions.py; }
stage_clients() { "$python" -m pytest -q -ra --durations=10 tests/clients; }
stage_containers() { tests/containers.sh; }
# 2,000 simulated clusters, then each seeded fault until a seed finds it. SIM_FIRST_SEED begins elsewhere.
stage_simulation() {
  cargo run -q --locked -p moldau-simulation -- seeds "${SIM_FIRST_SEED:-1}" "${SIM_SEEDS:-2000}" &&
    cargo run -q --locked -p moldau-simulation -- bugs
}
# The chaos set's own judge and tools, and the reliability page's.
stage_harness() { tests/chaos/run.sh unit && "$python" -m pytest -q -p no:cacheprovider tests/reliability; }
# Hostile input at a node with little memory.
stage_hostile() { "$python" tests/reliability/hostile.py; }
stage_chaos() { tests/chaos/run.sh short; }
stage_cluster() { tests/containers_cluster.sh; }
# On the cluster that $KUBECONFIG names, which has to have the image $MOLDAU_IMAGE.
stage_kubernetes() { tests/kubernetes.sh; }

# From an earlier version's binary, which it builds, to this one and back, under load.
stage_upgrade() { tests/upgrade.sh; }

# The lines that name what failed, for a reader who sees the end of the output alone.
what_failed() {
  grep -aE '^(test .*FAILED|thread .*panicked at|FAILED |ERROR |error|failed:|not ok)|signal: |^ +process didn.t exit|^[a-z, ]+ FAILED ' "$printed" |
    sort -u | head -40 | sed 's/^/  /'
}

run_stage() {
  local name=$1 started=$SECONDS verdict
  echo "== $name"
  "stage_$name" 2>&1 | tee "$printed"
  case ${PIPESTATUS[0]} in
    0) verdict=passed ;;
    77) verdict=skipped ;;
    *)
      verdict=FAILED failed=1
      report+=("$(what_failed)")
      ;;
  esac
  report+=("$(printf '%-12s %-8s %5.1f min' "$name" "$verdict" "$(((SECONDS - started) * 10 / 60))e-1")")
}

stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=(setup check unit build instructions simulation harness clients containers cluster hostile chaos)
for stage in "${stages[@]}"; do
  run_stage "$stage"
  # Without its ground nothing later can tell anything.
  if [ $failed = 1 ] && [[ $stage == setup || $stage == build ]]; then break; fi
done
echo "== stages"
printf '%s\n' "${report[@]}"
exit $failed
