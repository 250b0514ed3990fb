#!/usr/bin/env bash
# Makes everything that a release consists of, in target/packages:
#   moldau_VERSION_ARCHITECTURE.deb            the Debian package, with its systemd unit
#   moldau-VERSION-image-ARCHITECTURE.tar.gz   the small image, for docker load
#   moldau-VERSION.cdx.json                    what the binary is made of (CycloneDX); the image and the package have theirs inside
#   SHA256SUMS
#   deploy/package.sh [deb] [image] [sbom]     some of them
# MOLDAU_BINARY names a binary to pack instead of building one, MOLDAU_STATIC_BINARY the one for the image, PACKAGES another
# folder. The same inputs give the same bytes; times are SOURCE_DATE_EPOCH, by default that of the last commit.
set -euo pipefail
shopt -s inherit_errexit # a build that fails in $(...) must not leave an old binary to be packed
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
packages=$(realpath -m "${PACKAGES:-$target/packages}")
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH LC_ALL=C
architecture=$(dpkg --print-architecture 2>/dev/null || uname -m)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(sbom deb image)
wants() { [[ " ${wanted[*]} " == *" $1 "* ]]; }

sbom() { # sbom [NAME@VERSION]: with the C library that a static binary carries
  deploy/sbom.py ${1:+--libc "$1"}
}
binary() { # the path of the binary that needs the machine's C library
  if [ -z "${MOLDAU_BINARY:-}" ]; then
    (. deploy/paths.sh && cargo build --quiet --locked --profile dist)
    MOLDAU_BINARY=$target/dist/moldau
  fi
  echo "$MOLDAU_BINARY"
}
static_binary() {
  if [ -z "${MOLDAU_STATIC_BINARY:-}" ]; then
    deploy/static_binary.sh "$scratch/moldau-static"
    MOLDAU_STATIC_BINARY=$scratch/moldau-static
  fi
  echo "$MOLDAU_STATIC_BINARY"
}
static_libc() { # which C library a static binary has been linked with
  local found
  found=$(dpkg-query --show --showformat '${source:Package}@${source:Version}' libc6-dev 2>/dev/null) ||
    found=glibc@$(getconf GNU_LIBC_VERSION | cut -d ' ' -f 2)
  echo "$found"
}

make_deb() {
  local root=$scratch/deb packed needs name link
  packed=$(binary)
  mkdir -p "$root"/{DEBIAN,etc/moldau,usr/bin,usr/lib/systemd/system,usr/share/doc/moldau} \
    "$root"/usr/share/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
  install -m 0755 "$packed" "$root/usr/bin/moldau"
  strip --strip-unneeded "$root/usr/bin/moldau"
  "$root/usr/bin/moldau" compat --names >"$scratch/names"
  while read -r name; do
    for link in "$name" "$name.sh"; do ln -s moldau "$root/usr/bin/$link"; done
  done <"$scratch/names"
  "$root/usr/bin/moldau" completions bash >"$root/usr/share/bash-completion/completions/moldau"
  "$root/usr/bin/moldau" completions zsh >"$root/usr/share/zsh/vendor-completions/_moldau"
  "$root/usr/bin/moldau" completions fish >"$root/usr/share/fish/vendor_completions.d/moldau.fish"
  install -m 0644 deploy/debian/server.properties "$root/etc/moldau/server.properties"
  install -m 0644 deploy/systemd/moldau.service "$root/usr/lib/systemd/system/moldau.service"
  install -m 0644 deploy/debian/copyright "$root/usr/share/doc/moldau/copyright"
  gzip -9n <CHANGELOG.md >"$root/usr/share/doc/moldau/changelog.gz"
  sbom >"$root/usr/share/doc/moldau/sbom.cdx.json"
  # The oldest C library that has all that the binary asks of it.
  needs=$(objdump -T "$root/usr/bin/moldau" | grep -o 'GLIBC_[0-9][0-9.]*' | sort -uV | tail -n 1 | cut -d _ -f 2)
  sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@LIBC@/$needs/" \
    -e "s/@KILOBYTES@/$(du -k --apparent-size -s "$root" | cut -f 1)/" deploy/debian/control.in >"$root/DEBIAN/control"
  echo /etc/moldau/server.properties >"$root/DEBIAN/conffiles"
  (cd "$root" && find etc usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
  for name in postinst prerm; do install -m 0755 "deploy/debian/$name" "$root/DEBIAN/$name"; done
  chmod -R u=rwX,go=rX "$root"
  # dpkg-deb takes later times down to SOURCE_DATE_EPOCH, but none up to it.
  find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group -Zxz --build "$root" "$packages/moldau_${version}_$architecture.deb" >/dev/null
}
make_image() {
  local packed libc
  packed=$(static_binary)
  libc=$(static_libc)
  sbom "$libc" >"$scratch/image.cdx.json"
  deploy/docker/image.py --binary "$packed" --tag "moldau:$version" --sbom "$scratch/image.cdx.json" \
    --output "$packages/moldau-$version-image-$architecture.tar.gz"
}

mkdir -p "$packages"
if wants sbom; then sbom >"$packages/moldau-$version.cdx.json"; fi
if wants deb; then
  if command -v dpkg-deb >/dev/null; then make_deb; else echo "skipped: the Debian package (no dpkg-deb here)"; fi
fi
if wants image; then make_image; fi
(cd "$packages" && rm -f SHA256SUMS && sha256sum -- * >"$scratch/sums" && cp "$scratch/sums" SHA256SUMS)
ls -l "$packages"
