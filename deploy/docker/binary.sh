#!/bin/sh
# Puts the release binary at $1: the one that the build image brings, or a fresh one.
set -eu
if [ -x /prebuilt/moldau ]; then
  cp /prebuilt/moldau "$1"
else
  cargo build --release --locked
  cp target/release/moldau "$1"
fi
