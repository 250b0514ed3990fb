#!/usr/bin/env bash
# The tutorial by containers. Builds the images without a registry, brings the compose file up, and walks through:
# tools inside the container, producer on the host at localhost:9092, consumer in another container at kafka:9092; then
# compose files that were written for other images (Bitnami's, Confluent's, Apache's), with only the image's name changed; the
# small image with as little as it may be given; the Debian package in a Debian of its own; and the pages of docs/ whose
# commands need containers.
set -euo pipefail
cd "$(dirname "$0")/.."
setup=${MOLDAU_TEST_SETUP:-$PWD/tests/.setup}
venv=$(realpath "$setup/venv")
scratch=$(mktemp -d)
small_image=moldau:test
export MOLDAU_IMAGE=$small_image-shell COMPOSE_PROJECT_NAME=moldautest
binary=$(realpath "${MOLDAU_BINARY:-target/release/moldau}")
. tests/shell/checks.sh
. tests/shell/engine.sh

finish() {
  docker-compose -f deploy/compose.single.yaml down -v --timeout 5 >/dev/null 2>&1 || true
  docker-compose -p moldaupasted -f "$scratch/pasted.yaml" down -v --timeout 5 >/dev/null 2>&1 || true
  stop_engine
  rm -rf "$scratch"
}
trap finish EXIT

free_ports 9092
start_engine

until_healthy() { # until_healthy CONTAINER
  local container=$1
  for _ in $(seq 60); do
    [ "$(docker inspect --format '{{.State.Health.Status}}' "$container" 2>/dev/null)" = healthy ] && return 0
    sleep 0.5
  done
  docker logs "$container" 2>&1 | tail -n 20
  return 1
}

MOLDAU_STATIC_BINARY=$(static_binary)
export MOLDAU_STATIC_BINARY
deploy/docker/build.sh "$small_image"

cat >"$scratch/produce.py" <<'P'
import json
from kafka import KafkaProducer
p = KafkaProducer(bootstrap_servers="localhost:9092", value_serializer=lambda v: json.dumps(v).encode())
for n in range(10):
    p.send("pageview", {"n": n}, key=b"%d" % n).get(10)
P
cat >"$scratch/consume.py" <<'P'
import sys
from kafka import KafkaConsumer
c = KafkaConsumer("pageview", bootstrap_servers="kafka:9092", group_id=sys.argv[1], auto_offset_reset="earliest",
                  consumer_timeout_ms=20000)
seen = []
for message in c:
    seen.append("%s %s %s" % (message.topic, message.key.decode(), message.value.decode()))
    if len(seen) == 10:
        break
c.close()
print("\n".join(sorted(seen)))
P
expected_records=$(for n in $(seq 0 9); do echo "pageview $n {\"n\": $n}"; done)
topics="kafka-topics.sh --bootstrap-server localhost:9092"
kafka=""
inside() { docker exec "$kafka" "$@"; }
# A consumer in a container of its own. The base image has no Python: it borrows this machine's, read-only, which may be
# installed outside of /usr.
python_home=$("$venv/bin/python" -c 'import sys; print(sys.base_prefix)')
borrowed=(-v /usr:/usr:ro -v "$venv:$venv:ro" -v "$scratch:$scratch:ro")
case $python_home in
  /usr | /usr/*) ;;
  *) borrowed+=(-v "$python_home:$python_home:ro") ;;
esac
consume() { # consume GROUP
  local network
  network=$(docker inspect --format '{{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{end}}' "$kafka")
  docker run --rm --network "$network" "${borrowed[@]}" \
    moldau-base:bookworm "$venv/bin/python" "$scratch/consume.py" "$1"
}
committed() { # committed GROUP: what it has committed in both partitions together
  inside kafka-consumer-groups.sh --bootstrap-server localhost:9092 --describe --group "$1" 2>/dev/null |
    awk -v group="$1" '$1 == group {sum += $4} END {print sum + 0}'
}
stops_cleanly() { docker stop --time 10 "$kafka" >/dev/null && says 0 docker inspect --format '{{.State.ExitCode}}' "$kafka"; }

# The tutorial, by the compose file that the project brings.
single() { # single COMPOSE...
  local compose=("$@" -f deploy/compose.single.yaml) by="$*"
  "${compose[@]}" up -d >"$scratch/up" 2>&1 || { cat "$scratch/up"; failed=$((failed + 1)); return; }
  kafka=$("${compose[@]}" ps -q kafka)
  check "$by: the container becomes healthy" until_healthy "$kafka"
  check "$by: it runs as a user without rights" says 1000 inside id -u
  check "$by: there is a shell, and the tools are on its PATH" inside bash -c \
    "command -v kafka-topics.sh kafka-topics && ls /opt/kafka/bin/kafka-topics.sh /opt/kafka/bin/kafka-topics"
  check "$by: a topic is made inside" says "Created topic pageview." inside bash -c "$topics --create --topic pageview"
  check "$by: it is listed" says pageview inside bash -c "$topics --list"
  check "$by: it gets a second partition" says "" inside bash -c "$topics --alter --topic pageview --partitions 2"
  check "$by: it is described" inside bash -c "$topics --describe --topic pageview | grep -q 'PartitionCount: 2'"
  check "$by: a producer on the host sends to localhost:9092" "$venv/bin/python" "$scratch/produce.py"
  check "$by: a consumer in another container reads from kafka:9092" says "$expected_records" consume pageview-group1
  check "$by: its group has committed" says 10 committed pageview-group1
  check "$by: it stops cleanly" stops_cleanly
  docker start "$kafka" >/dev/null
  check "$by: it is healthy again after a restart" until_healthy "$kafka"
  check "$by: the group's offsets are still there" says 10 committed pageview-group1
  check "$by: another group reads everything from the start" says "$expected_records" consume pageview-group2
  "${compose[@]}" down -v --timeout 10 >/dev/null 2>&1
}
single docker-compose
if docker compose version >/dev/null 2>&1; then
  single docker compose
else
  echo "skipped: docker compose v2 (the plugin is not installed)"
fi

# Compose files written for other images, with only the image's name changed.
pasted() { # pasted WHAT DATA_DIRECTORY <SERVICE: its ports, volumes and environment
  local what=$1 data=$2 compose=(docker-compose -p moldaupasted -f "$scratch/pasted.yaml")
  {
    printf 'version: "2"\nservices:\n'
    # Nobody asks the zookeeper anything: any idle container will do for it.
    if [[ $what == *left\ in* ]]; then
      printf '  zookeeper:\n    image: moldau-base:bookworm\n    command: sleep 600\n    ports:\n      - "2181:2181"\n'
    fi
    printf '  kafka:\n    image: %s\n    hostname: kafka\n' "$MOLDAU_IMAGE"
    if [[ $what == *left\ in* ]]; then printf '    depends_on:\n      - zookeeper\n'; fi
    cat
    printf 'volumes:\n  kafka_data:\n    driver: local\n'
  } >"$scratch/pasted.yaml"
  "${compose[@]}" up -d >"$scratch/up" 2>&1 || cat "$scratch/up"
  kafka=$("${compose[@]}" ps -q kafka)
  check "$what: healthy" until_healthy "$kafka"
  check "$what: a topic" says "Created topic pageview." inside bash -c "$topics --create --topic pageview"
  check "$what: a producer on the host" "$venv/bin/python" "$scratch/produce.py"
  check "$what: the data is in its volume" inside test -d "$data/pageview-0"
  check "$what: it stops cleanly" stops_cleanly
  "${compose[@]}" down -v --timeout 10 >/dev/null 2>&1
}
for zookeeper in "left in" deleted; do
  pasted "Bitnami's file, zookeeper $zookeeper" /bitnami/kafka/data <<'Y'
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
done
pasted "Bitnami's file with KRaft" /bitnami/kafka/data <<'Y'
    ports:
      - "9092:9092"
    volumes:
      - "kafka_data:/bitnami"
    environment:
      - KAFKA_CFG_NODE_ID=0
      - KAFKA_CFG_PROCESS_ROLES=controller,broker
      - KAFKA_CFG_LISTENERS=PLAINTEXT://:9092,CONTROLLER://:9093
      - KAFKA_CFG_ADVERTISED_LISTENERS=PLAINTEXT://localhost:9092
      - KAFKA_CFG_LISTENER_SECURITY_PROTOCOL_MAP=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
      - KAFKA_CFG_CONTROLLER_QUORUM_VOTERS=0@kafka:9093
      - KAFKA_CFG_CONTROLLER_LISTENER_NAMES=CONTROLLER
Y
pasted "Confluent's file, zookeeper left in" /var/lib/kafka/data <<'Y'
    ports:
      - "9092:9092"
    volumes:
      - "kafka_data:/var/lib/kafka/data"
    environment:
      KAFKA_BROKER_ID: 1
      KAFKA_ZOOKEEPER_CONNECT: zookeeper:2181
      KAFKA_ADVERTISED_LISTENERS: PLAINTEXT://kafka:29092,PLAINTEXT_HOST://localhost:9092
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT
      KAFKA_INTER_BROKER_LISTENER_NAME: PLAINTEXT
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: 1
Y
pasted "Apache's file" /var/lib/kafka/data <<'Y'
    ports:
      - "9092:9092"
    volumes:
      - "kafka_data:/var/lib/kafka/data"
    environment:
      KAFKA_NODE_ID: 1
      KAFKA_PROCESS_ROLES: broker,controller
      KAFKA_LISTENERS: PLAINTEXT://0.0.0.0:9092,CONTROLLER://0.0.0.0:9093
      KAFKA_ADVERTISED_LISTENERS: PLAINTEXT://localhost:9092
      KAFKA_CONTROLLER_LISTENER_NAMES: CONTROLLER
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
      KAFKA_CONTROLLER_QUORUM_VOTERS: 1@localhost:9093
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: 1
      KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: 1
      KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: 1
      KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: 0
      KAFKA_NUM_PARTITIONS: 3
Y
# What is wrong with the environment is said in the container's log.
refuses() { # refuses TEXT ENVIRONMENT...: the container ends by itself with 1, and its log has a line like TEXT
  local text=$1 code=0
  shift
  timeout 30 docker run --rm "${@/#/--env=}" "$MOLDAU_IMAGE" >"$scratch/log" 2>&1 || code=$?
  cat "$scratch/log"
  [ "$code" = 1 ] && grep -q "$text" "$scratch/log"
}
warns() { # warns TEXT ENVIRONMENT...: the container serves, and its log has a line like TEXT
  local text=$1 container code=0
  shift
  container=$(docker run --detach "${@/#/--env=}" "$MOLDAU_IMAGE")
  until_healthy "$container" || code=1
  docker logs "$container" >"$scratch/log" 2>&1
  docker rm --force "$container" >/dev/null
  cat "$scratch/log"
  [ "$code" = 0 ] && grep -q "$text" "$scratch/log"
}
check "a wrong value ends the container, and the log names it" refuses '^moldau: .*num.partitions' KAFKA_NUM_PARTITIONS=three
check "an unknown variable is named with the one that was meant" warns 'num.partition.*num.partitions' KAFKA_NUM_PARTITION=3

# The small image, given as little as it may be given.
small_container=""
inside_small() { docker exec "$small_container" "$@"; }
is_small() { # at most 20 MB, compressed as a registry has it
  local bytes
  bytes=$(docker save "$small_image" | gzip -9 | wc -c)
  echo "     $small_image: $bytes bytes compressed" >&3
  [ "$bytes" -le 20000000 ] || { echo "$bytes bytes"; return 1; }
}
has_no_shell() { ! inside_small sh -c true; }
takes_a_load() { "$binary" bench --bootstrap-server localhost:9092 --duration-s 3 --record-bytes 1024; }
was_not_killed() { says "false running" docker inspect --format '{{.State.OOMKilled}} {{.State.Status}}' "$small_container"; }
small_stops() {
  docker stop --time 10 "$small_container" >/dev/null && says 0 docker inspect --format '{{.State.ExitCode}}' "$small_container"
}
finds_names() { # by the resolver of the static C library: of a container beside it, and of none
  local network=moldau-small-$$ code=0
  docker network create "$network" >/dev/null
  docker network connect --alias kafka "$network" "$small_container"
  docker run --rm --network "$network" "$small_image" moldau topic list --bootstrap-server kafka:9092 || code=1
  if docker run --rm --network "$network" "$small_image" moldau topic list --bootstrap-server nobody.invalid:9092; then code=1; fi
  docker network disconnect "$network" "$small_container"
  docker network rm "$network" >/dev/null
  return $code
}
exec 3>&1
small_container=$(docker run --detach --read-only --cap-drop ALL --security-opt no-new-privileges --memory 64m \
  --memory-swap 64m --publish 127.0.0.1:9092:9092 "$small_image")
check "the small image: at most 20 MB" is_small
check "the small image: healthy, read-only, without capabilities, in 64 MB" until_healthy "$small_container"
check "the small image: no shell" has_no_shell
check "the small image: a topic is made inside by the tool's name" says "Created topic pageview." inside_small \
  kafka-topics.sh --bootstrap-server localhost:9092 --create --topic pageview
check "the small image: a producer on the host" "$venv/bin/python" "$scratch/produce.py"
check "the small image: a consumer inside" says 10 bash -c "docker exec $small_container moldau consume pageview -o earliest \
  -n 10 | wc -l"
check "the small image: names are found" finds_names
check "the small image: it takes a load" takes_a_load
check "the small image: that was not too much for its memory" was_not_killed
check "the small image: it stops cleanly" small_stops
docker rm --force "$small_container" >/dev/null

# The Debian package in a Debian of its own, which has no service manager: the unit's command is run as the unit's user.
cat >"$scratch/debian.sh" <<'P'
set -euo pipefail
say() { echo "debian: $*"; }
dpkg --install /packages/moldau_*.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
say installed
[ "$(moldau version)" = "moldau $1" ]
[ "$(stat -c %U:%G:%a /var/lib/moldau)" = moldau:moldau:750 ]
[ "$(readlink /usr/bin/kafka-topics.sh)" = moldau ]
command=$(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/moldau.service)
setpriv --reuid moldau --regid moldau --clear-groups $command >/tmp/log 2>&1 &
node=$!
for _ in $(seq 100); do moldau health >/dev/null 2>&1 && break; sleep 0.1; done
kafka-topics.sh --bootstrap-server localhost:9092 --create --topic pageview
echo one | moldau produce pageview
[ "$(moldau consume pageview -o earliest -n 1)" = one ]
kill "$node" && wait "$node"
say served
echo 'num.partitions=3' >>/etc/moldau/server.properties
dpkg --install /packages/moldau_*.deb >/tmp/log 2>&1 </dev/null
grep -q num.partitions=3 /etc/moldau/server.properties
say "a changed file is kept"
dpkg --remove moldau >/tmp/log 2>&1
[ ! -e /usr/bin/moldau ] && [ ! -e /usr/bin/kafka-topics.sh ] && [ -e /etc/moldau/server.properties ]
dpkg --purge moldau >/tmp/log 2>&1
[ ! -e /etc/moldau/server.properties ] && [ -e /var/lib/moldau/meta.properties ]
say "removed, and its data kept"
P
debian() {
  local version
  version=$("$binary" version | cut -d ' ' -f 2)
  PACKAGES=$scratch/packages MOLDAU_BINARY=$binary deploy/package.sh deb >"$scratch/log" 2>&1 || { cat "$scratch/log"; return 1; }
  docker run --rm --volume "$scratch/packages:/packages:ro" --volume "$scratch/debian.sh:/debian.sh:ro" --user root \
    moldau-base:bookworm bash /debian.sh "$version"
}
if command -v dpkg-deb >/dev/null; then
  check "the Debian package is installed, serves, keeps what was changed, and is removed without its data" debian
else
  echo "skipped: the Debian package (no dpkg-deb here)"
fi

# Pages whose commands need containers; MOLDAU_IMAGE has them take the images made here.
documents() { MOLDAU_DOCUMENTS=containers "$venv/bin/python" -m pytest -q -rs -s tests/clients/test_documents.py >&3 2>&1; }
check "the commands in docs/ that need containers" documents

summary
