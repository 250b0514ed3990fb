#!/usr/bin/env bash
# Brings what the tests need and a fresh machine lacks: Debian packages, Python clients, Apache Kafka's jars.
# Idempotent. What it downloads lands in tests/.setup (or $MOLDAU_TEST_SETUP); packages are installed only where
# this user may (root or passwordless sudo), otherwise the missing ones are named.
set -euo pipefail
cd "$(dirname "$0")/.."
setup=${MOLDAU_TEST_SETUP:-$PWD/tests/.setup}
mkdir -p "$setup"

retry() { # downloads fail now and then: three tries, then give up
  local try
  for try in 1 2 3; do "$@" && return 0; sleep $((try * 3)); done
  echo "setup: failed three times: $*" >&2
  return 1
}

as_root=""
if [ "$(id -u)" != 0 ]; then as_root="sudo -n"; fi

missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); } # need COMMAND PACKAGE
need cc gcc
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
need java default-jre-headless
need javac default-jdk-headless
need mvn maven
need go golang
need node nodejs
need npm npm
need kcat kcat
need ip iproute2
need curl curl
need openssl openssl
need strip binutils
need chromium chromium
need chromedriver chromium-driver
need valgrind valgrind
need strace strace # tests/chaos makes writes fail by it
if [ "${MOLDAU_TEST_CONTAINERS:-yes}" = yes ]; then
  need dockerd docker.io
  need docker-compose docker-compose
  need debootstrap debootstrap
fi
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: installing ${missing[*]}"
  if command -v apt-get >/dev/null && { [ -z "$as_root" ] || $as_root true 2>/dev/null; }; then
    retry $as_root apt-get update -qq
    retry $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  else
    echo "setup: cannot install packages here; please install: ${missing[*]}" >&2
    exit 1
  fi
fi

if ! cmp -s tests/requirements.txt "$setup/requirements.txt"; then
  python3 -m venv "$setup/venv"
  retry "$setup/venv/bin/pip" install -q -r tests/requirements.txt
  cp tests/requirements.txt "$setup/requirements.txt"
fi
# promtool, out of Debian's prometheus. The package is not installed: it would start a server.
promtool=$setup/prometheus/usr/bin/promtool
if [ ! -x "$promtool" ] && command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
  (cd "$setup" && retry apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb prometheus.new &&
    rm -f prometheus_*.deb && mv prometheus.new prometheus) || echo "setup: no promtool; its test is skipped" >&2
fi
if ! cmp -s tests/java/pom.xml "$setup/pom.xml"; then
  retry mvn -q -B -f tests/java/pom.xml dependency:copy-dependencies -DoutputDirectory="$setup/jars"
  cp tests/java/pom.xml "$setup/pom.xml"
fi

# The applications of tests/apps. Where Go is older than their modules allow, or modules cannot be had, their tests say so
# and are skipped.
mkdir -p "$setup/apps/classes" "$setup/apps/node"
rm -f "$setup/apps/skipped-go" "$setup/apps/skipped-node"
skip() { # skip KIND REASON
  echo "$2" >"$setup/apps/skipped-$1"
  echo "setup: skipped: $2"
}
without_go() {
  rm -f "$setup/apps/franz" "$setup/apps/sarama" "$setup/apps/bench"
  skip go "$1"
}
go_needed=$(sed -n 's/^go //p' tests/apps/go/go.mod)
go_here=$(GOTOOLCHAIN=local go version | sed 's/^go version go\([0-9.]*\).*/\1/')
if [ "$(printf '%s\n' "$go_needed" "$go_here" | sort -V | head -1)" = "$go_needed" ]; then
  retry env GOTOOLCHAIN=local GOBIN="$setup/apps" go install -C tests/apps/go ./... ||
    without_go "the modules of franz-go and sarama could not be had"
else
  without_go "Go is $go_here here, and the modules of franz-go and sarama need $go_needed"
fi
if ! cmp -s tests/apps/node/package-lock.json "$setup/apps/node/installed.json"; then
  cp tests/apps/node/package.json tests/apps/node/package-lock.json "$setup/apps/node/"
  if retry npm ci --prefix "$setup/apps/node" --silent --no-audit --no-fund; then
    cp tests/apps/node/package-lock.json "$setup/apps/node/installed.json"
  else
    skip node "the modules of kafkajs could not be had"
  fi
fi
javac -cp "$setup/jars/*" -d "$setup/apps/classes" tests/apps/java/*.java

if ! cargo deny --version >/dev/null 2>&1; then
  retry cargo install --quiet --locked cargo-deny
fi
