#!/usr/bin/env bash
# A rolling upgrade under load, from an earlier version's binary to this one's, and the way back: three nodes, one after the other,
# with producers, a group whose members come and go, transactions and changes of topics all the while. Nothing that was acknowledged
# may be missing, be there twice or out of order (tests/chaos/histcheck.py).
#   tests/upgrade.sh                       up and back twice, from the last release's tag or else from the commit that is named below
#   UPGRADE_FROM=COMMIT tests/upgrade.sh   from another one
#   UPGRADES=6 tests/upgrade.sh            up and back three times
#   MOLDAU_OLD_BINARY=FILE                 has it built already; MOLDAU_BINARY as everywhere
# The earlier version is built once, which takes minutes, and kept in target/upgrade. Ends with 77 where its sources are not at hand.
set -euo pipefail
cd "$(dirname "$0")/.."
# Before access control entries and TLS, of a time without releases.
first=0196c3e4ab29
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export MOLDAU_BINARY=${MOLDAU_BINARY:-$target/release/moldau}
if [ ! -x "$MOLDAU_BINARY" ]; then
  cargo build --release --locked
fi

if [ -z "${MOLDAU_OLD_BINARY:-}" ]; then
  from=${UPGRADE_FROM:-$(git describe --tags --abbrev=0 --match 'v*' 'HEAD^' 2>/dev/null || echo "$first")}
  if ! commit=$(git rev-parse --quiet --verify "$from^{commit}"); then
    echo "skipped: the history here does not have $from (a shallow clone?)"
    exit 77
  fi
  MOLDAU_OLD_BINARY=$target/upgrade/moldau-$commit
  if [ ! -x "$MOLDAU_OLD_BINARY" ]; then
    sources=$target/upgrade/sources
    rm -rf "$sources"
    mkdir -p "$sources"
    git archive "$commit" | tar -x -C "$sources"
    (cd "$sources" && CARGO_TARGET_DIR=$target/upgrade/build cargo build --quiet --release --locked)
    cp "$target/upgrade/build/release/moldau" "$MOLDAU_OLD_BINARY"
    rm -rf "$sources"
  fi
  echo "from $(git log -1 --format='%h of %cs' "$commit") to $(git describe --always --dirty)"
fi
export MOLDAU_OLD_BINARY
exec tests/chaos/run.sh nightly --only 'upgrade and back' --count "${UPGRADES:-4}" "$@"
