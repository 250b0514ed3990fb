#!/usr/bin/env bash
# Shows that a build gives the same bytes wherever it is made: builds the sources of a commit twice, each time from nothing, in two
# folders with names of different lengths, and compares the binaries.
#   deploy/reproducible.sh [PROFILE]      the profile is `dist`, what releases are built by, or `release`, which takes less time
#   COMMIT=NAME deploy/reproducible.sh    of another commit than the last
# Needs room for two builds below ${TMPDIR:-/tmp}. Prints the sums; exit code 1 where they differ.
set -euo pipefail
cd "$(dirname "$0")/.."
profile=${1:-dist}
commit=$(git rev-parse --verify "${COMMIT:-HEAD}^{commit}")
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct "$commit")
export SOURCE_DATE_EPOCH
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
sums=()
for name in a a-folder-with-a-longer-name; do
  sources=$scratch/$name/moldau
  mkdir -p "$sources"
  git archive "$commit" | tar -x -C "$sources"
  # In a shell of its own: the second build is not to see the flags of the first.
  (
    cd "$sources"
    export CARGO_TARGET_DIR=$scratch/$name/built
    . deploy/paths.sh
    cargo build --quiet --locked --profile "$profile" --package moldau --bin moldau
  )
  binary=$scratch/$name/built/${profile/#dev/debug}/moldau
  sums+=("$(sha256sum <"$binary" | cut -d ' ' -f 1)")
  printf '%s  %s bytes, built in %s\n' "${sums[-1]}" "$(stat -c %s "$binary")" "${sources#"$scratch/"}"
  if grep -aqF "$scratch" "$binary"; then
    echo "the binary names the folder it was built in: $(grep -aoF "$scratch" "$binary" | wc -l) times" >&2
  fi
  cp "$binary" "$scratch/$name.binary"
  # Room for the second one.
  rm -rf "${scratch:?}/$name"
done
if [ "${sums[0]}" != "${sums[1]}" ]; then
  echo "the two builds of $commit differ from byte $(cmp "$scratch"/*.binary | sed 's/.*byte \([0-9]*\).*/\1/') on" >&2
  exit 1
fi
echo "two builds of $commit are the same"
