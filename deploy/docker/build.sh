#!/usr/bin/env bash
# Builds the images here, binary, bases and all, without any image registry: TAG, which has the binary and nothing else, and
# TAG-shell, which has a shell beside it.
#   deploy/docker/build.sh TAG
# The base of the latter is a minimal Debian made by debootstrap from the mirror that this machine's apt uses.
# MOLDAU_STATIC_BINARY names a binary to take instead of building one (deploy/static_binary.sh).
set -euo pipefail
tag=${1:?usage: deploy/docker/build.sh TAG}
cd "$(dirname "$0")/../.."
base=moldau-base:bookworm
builder=moldau-build:local
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if ! docker image inspect "$base" >/dev/null 2>&1; then
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | sort -u | head -n 1)
  # A download fails now and then: three tries, each from nothing.
  for try in 1 2 3; do
    debootstrap --variant=minbase bookworm "$scratch/root" "$mirror" >"$scratch/log" 2>&1 && break
    if [ "$try" = 3 ]; then tail -n 20 "$scratch/log" >&2; exit 1; fi
    rm -rf "$scratch/root"
    sleep $((try * 5))
  done
  rm -rf "$scratch"/root/var/cache/apt/archives/*.deb "$scratch"/root/var/lib/apt/lists/*
  tar -C "$scratch/root" -c . | docker import --change 'CMD ["bash"]' - "$base" >/dev/null
fi

binary=${MOLDAU_STATIC_BINARY:-}
if [ -z "$binary" ]; then
  binary=$scratch/moldau
  deploy/static_binary.sh "$binary" release
fi
deploy/docker/image.py --binary "$binary" --tag "$tag" --output "$scratch/image.tar.gz" >/dev/null
docker load -q -i "$scratch/image.tar.gz" >/dev/null
mkdir "$scratch/context"
cp "$binary" "$scratch/context/moldau"
printf 'FROM %s\nCOPY moldau /prebuilt/moldau\n' "$base" >"$scratch/context/Dockerfile"
docker build -q -t "$builder" "$scratch/context" >/dev/null
docker build -q -f deploy/docker/Dockerfile -t "$tag-shell" \
  --build-arg BUILD_IMAGE="$builder" --build-arg RUNTIME_IMAGE="$base" . >/dev/null
docker image inspect --format '{{index .RepoTags 0}} {{.Size}} bytes' "$tag" "$tag-shell"
