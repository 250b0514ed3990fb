# Sourced by the scripts that need an engine for containers. They set $scratch, a directory, and call stop_engine at their end.
engine_pid=""

free_ports() { # free_ports PORT...: or the script ends
  local port
  for port in "$@"; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "something listens on localhost:$port, which the tutorial's containers need"
      exit 1
    fi
  done
}
# Starts an engine where none runs; ends the script with 77 where none can.
start_engine() {
  if ! docker info >/dev/null 2>&1; then
    if ! command -v dockerd >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
      echo "skipped: no docker engine"
      exit 77
    fi
    dockerd >"$scratch/dockerd.log" 2>&1 &
    engine_pid=$!
    for _ in $(seq 60); do docker info >/dev/null 2>&1 && break; sleep 0.5; done
    if ! docker info >/dev/null 2>&1; then
      tail -n 5 "$scratch/dockerd.log"
      echo "skipped: no docker engine (dockerd does not start here)"
      exit 77
    fi
  fi
  # An engine may answer and yet not be allowed to run anything: told apart from a container of ours that does not run.
  printf 'FROM scratch\nCOPY true /true\nCMD ["/true"]\n' >"$scratch/Dockerfile"
  printf 'int main(void) { return 0; }\n' | cc -static -x c - -o "$scratch/true"
  if ! { docker build -q -t moldau-runs:test "$scratch" && docker run --rm moldau-runs:test; } >"$scratch/runs" 2>&1; then
    tail -n 3 "$scratch/runs"
    echo "skipped: the docker engine runs no container here"
    exit 77
  fi
}
stop_engine() {
  # Until it has gone its pid file keeps the next one from starting.
  if [ -n "$engine_pid" ]; then kill "$engine_pid" 2>/dev/null && wait "$engine_pid" || true; fi
}
# The static binary for the images: made once for all scripts, and anew where the tests' binary is newer. Its path is all that
# is printed.
static_binary() {
  local made=${CARGO_TARGET_DIR:-target}/images/moldau
  if [ -n "${MOLDAU_STATIC_BINARY:-}" ]; then
    made=$MOLDAU_STATIC_BINARY
  elif [ ! "$made" -nt "${MOLDAU_BINARY:-target/release/moldau}" ]; then
    deploy/static_binary.sh "$made" release >&2 || return 1
  fi
  echo "$made"
}
