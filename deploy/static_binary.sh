#!/usr/bin/env bash
# Builds the binary that the images carry: linked statically, so that it needs nothing beside itself.
#   deploy/static_binary.sh OUTPUT [PROFILE]        the profile is `dist`, or `release`, which takes less time
# Only the last crate is compiled for it, and what `cargo build` left is there again afterwards: other programs, and the
# tests, take that one. Glibc has what it needs to look names up (files, dns) built in since 2.34; other sources, which
# /etc/nsswitch.conf may name on a machine, are libraries. So this one is for images, which have an nsswitch.conf of their own.
set -euo pipefail
output=$(realpath -m "${1:?usage: deploy/static_binary.sh OUTPUT [PROFILE]}")
profile=${2:-dist}
cd "$(dirname "$0")/.."
built=${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}/moldau
kept=$(mktemp)
trap 'rm -f "$kept"' EXIT
cp -p "$built" "$kept" 2>/dev/null || rm -f "$kept"
# What is released names no folder of this machine; with other flags every crate is compiled anew.
if [ "$profile" = dist ]; then . deploy/paths.sh; fi
cargo rustc --quiet --locked --profile "$profile" --package moldau --bin moldau -- \
  -C target-feature=+crt-static -C strip=symbols
mkdir -p "$(dirname "$output")"
cp "$built" "$output"
# By a new file: the old name may be a link to what cargo keeps.
if [ -e "$kept" ]; then rm -f "$built" && cp -p "$kept" "$built"; fi
if readelf --program-headers "$output" | grep -q INTERP; then
  echo "$output is not linked statically" >&2
  exit 1
fi
