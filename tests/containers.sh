#!/usr/bin/env bash
# The tutorial by containers. Builds the image without a registry, brings the compose file up, and walks through:
# tools inside the container, producer on the host at localhost:9092, consumer in another container at kafka:9092; then a
# compose file of the tutorial's own kind (Bitnami's variables) with only the image name changed.
set -euo pipefail
cd "$(dirname "$0")/.."
setup=${MOLDAU_TEST_SETUP:-$PWD/tests/.setup}
scratch=$(mktemp -d)
export MOLDAU_IMAGE=moldau:test COMPOSE_PROJECT_NAME=moldautest
engine_pid=""
passed=0
failed=0

finish() {
  docker-compose -f deploy/compose.single.yaml down -v --timeout 5 >/dev/null 2>&1 || true
  docker-compose -p moldaubitnami -f "$scratch/bitnami.yaml" down -v --timeout 5 >/dev/null 2>&1 || true
  if [ -n "$engine_pid" ]; then kill "$engine_pid" 2>/dev/null || true; fi
  rm -rf "$scratch"
}
trap finish EXIT

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

check() { # check WHAT COMMAND...
  local what=$1
  shift
  if "$@" >"$scratch/out" 2>&1; then
    echo "ok   $what"
    passed=$((passed + 1))
  else
    echo "FAIL $what"
    sed 's/^/     /' "$scratch/out" | tail -n 30
    failed=$((failed + 1))
  fi
}
says() { # says EXPECTED COMMAND...: the command's standard output is exactly EXPECTED
  local expected=$1 got
  shift
  got=$("$@") || { echo "exit $?: $got"; return 1; }
  [ "$got" = "$expected" ] || { printf 'expected: %s\ngot:      %s\n' "$expected" "$got"; return 1; }
}
until_healthy() { # until_healthy CONTAINER
  local container=$1
  for _ in $(seq 60); do
    [ "$(docker inspect --format '{{.State.Health.Status}}' "$container" 2>/dev/null)" = healthy ] && return 0
    sleep 0.5
  done
  docker logs "$container" 2>&1 | tail -n 20
  return 1
}

MOLDAU_BINARY=${MOLDAU_BINARY:-target/release/moldau} deploy/docker/build.sh "$MOLDAU_IMAGE"

docker-compose -f deploy/compose.single.yaml up -d >"$scratch/up" 2>&1 || { cat "$scratch/up"; exit 1; }
kafka=$(docker-compose -f deploy/compose.single.yaml ps -q kafka)
inside() { docker exec "$kafka" "$@"; }
topics="kafka-topics.sh --bootstrap-server localhost:9092"
check "the container becomes healthy" until_healthy "$kafka"
check "it runs as a user without rights" says 1000 inside id -u
check "there is a shell, and the tools are on its PATH" inside bash -c "command -v kafka-topics.sh kafka-topics && ls /opt/kafka/bin/kafka-topics.sh"
check "a topic is made inside" says "Created topic pageview." inside bash -c "$topics --create --topic pageview"
check "it gets a second partition" says "" inside bash -c "$topics --alter --topic pageview --partitions 2"
check "it is described" inside bash -c "$topics --describe --topic pageview | grep -q 'PartitionCount: 2'"
cat >"$scratch/produce.py" <<'P'
import json
from kafka import KafkaProducer
p = KafkaProducer(bootstrap_servers="localhost:9092", value_serializer=lambda v: json.dumps(v).encode())
for n in range(10):
    p.send("pageview", {"n": n}, key=b"%d" % n).get(10)
P
check "a producer on the host sends to localhost:9092" "$setup/venv/bin/python" "$scratch/produce.py"
network=$(docker inspect --format '{{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{end}}' "$kafka")
consume() {
  docker run --rm --network "$network" "$MOLDAU_IMAGE" kafka-console-consumer.sh --bootstrap-server kafka:9092 \
    --topic pageview --from-beginning --group pageview-group1 --max-messages 10 --timeout-ms 20000 2>/dev/null | sort
}
check "a consumer in another container reads from kafka:9092" says "$(for n in $(seq 0 9); do echo "{\"n\": $n}"; done)" consume
docker-compose -f deploy/compose.single.yaml restart --timeout 10 kafka >/dev/null 2>&1
check "it is healthy again after a restart" until_healthy "$kafka"
check "the group's offsets are still there" inside bash -c \
  "kafka-consumer-groups.sh --bootstrap-server localhost:9092 --describe --group pageview-group1 | awk '\$1 == \"pageview-group1\" {sum += \$4} END {exit sum != 10}'"
docker-compose -f deploy/compose.single.yaml down -v --timeout 10 >/dev/null 2>&1

# The tutorial's own kind of compose file; its zookeeper is any idle container, as nobody asks it anything.
for zookeeper in left-in deleted; do
  {
    printf 'version: "2"\nservices:\n'
    if [ $zookeeper = left-in ]; then
      printf '  zookeeper:\n    image: moldau-base:bookworm\n    command: sleep 600\n    ports:\n      - "2181:2181"\n'
    fi
    cat <<Y
  kafka:
    image: $MOLDAU_IMAGE
    ports:
      - "9092:9092"
    volumes:
      - "kafka_data:/bitnami/kafka"
    environment:
      - KAFKA_BROKER_ID=1
      - KAFKA_CFG_ZOOKEEPER_CONNECT=zookeeper:2181
      - ALLOW_PLAINTEXT_LISTENER=yes
      - KAFKA_CFG_LISTENERS=PLAINTEXT://:9092
      - KAFKA_CFG_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9092
Y
    if [ $zookeeper = left-in ]; then printf '    depends_on:\n      - zookeeper\n'; fi
    printf 'volumes:\n  kafka_data:\n    driver: local\n'
  } >"$scratch/bitnami.yaml"
  compose=(docker-compose -p moldaubitnami -f "$scratch/bitnami.yaml")
  "${compose[@]}" up -d >"$scratch/up" 2>&1 || cat "$scratch/up"
  kafka=$("${compose[@]}" ps -q kafka)
  check "Bitnami's variables, zookeeper $zookeeper: healthy" until_healthy "$kafka"
  check "Bitnami's variables, zookeeper $zookeeper: a topic" says "Created topic pageview." inside bash -c "$topics --create --topic pageview"
  check "Bitnami's variables, zookeeper $zookeeper: a producer on the host" "$setup/venv/bin/python" "$scratch/produce.py"
  check "Bitnami's variables, zookeeper $zookeeper: the data is in its volume" inside test -d /bitnami/kafka/data/pageview-0
  "${compose[@]}" down -v --timeout 10 >/dev/null 2>&1
done

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
