#!/usr/bin/env bash
# Clusters by containers. Brings deploy/compose.yaml up and walks through the tutorial at replication factor 3 while the
# leader of `pageview` is killed under load; then deploy/compose.controllers.yaml, where the active controller is killed.
# Nothing that was acknowledged may be missing, or be there twice. Ends with 77 where there is no engine for containers.
set -euo pipefail
cd "$(dirname "$0")/.."
setup=${MOLDAU_TEST_SETUP:-$PWD/tests/.setup}
venv=$(realpath "$setup/venv")
scratch=$(mktemp -d)
export MOLDAU_IMAGE=moldau:test COMPOSE_PROJECT_NAME=moldaucluster
hosts=localhost:9092,localhost:19092,localhost:29092
load_pid=""
. tests/shell/checks.sh
. tests/shell/engine.sh

finish() {
  if [ -n "$load_pid" ]; then kill "$load_pid" 2>/dev/null || true; fi
  docker-compose -f deploy/compose.yaml down -v --timeout 5 >/dev/null 2>&1 || true
  docker-compose -f deploy/compose.controllers.yaml down -v --timeout 5 >/dev/null 2>&1 || true
  stop_engine
  rm -rf "$scratch"
}
trap finish EXIT

free_ports 9092 19092 29092
start_engine

is_healthy() { [ "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")" 2>/dev/null)" = healthy ]; }
all_healthy() { local service; for service in "$@"; do is_healthy "$service" || return 1; done; }
compose=()
container() { "${compose[@]}" ps -q "$1"; }
inside() { # inside SERVICE COMMAND...
  local service=$1
  shift
  docker exec "$(container "$service")" "$@"
}
tool() { # tool SERVICE NAME ARGUMENTS...: one of Kafka's tools, as the tutorial calls it
  local service=$1 name=$2
  shift 2
  inside "$service" "$name" --bootstrap-server localhost:9092 "$@"
}
describe() { tool "$1" kafka-topics.sh --describe --topic pageview; }
field() { sed -n "s/.*Partition: $2[[:space:]].*$3: \([0-9,]*\).*/\1/p" <<<"$(describe "$1")"; } # field SERVICE PARTITION NAME
in_sync() { # in_sync SERVICE COUNT: every partition has that many replicas in sync
  local isr
  for partition in 0 1; do
    isr=$(field "$1" "$partition" Isr)
    [ "$(tr ',' '\n' <<<"$isr" | grep -c .)" = "$2" ] || { describe "$1"; return 1; }
  done
}

# Sends without pause until it is told to end; what was acknowledged is in its file, and how long the longest pause was.
cat >"$scratch/load.py" <<'P'
import json, signal, sys, time
from confluent_kafka import Producer
bootstrap, path = sys.argv[1:]
stop, acked, last, longest = [], [], time.monotonic(), 0.0
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 2,
                     "log_level": 0, "message.timeout.ms": 60000, "retry.backoff.ms": 50,
                     "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500})
def note(error, message):
    global last, longest
    if error is None:
        acked.append(json.loads(message.value())["n"])
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
n, error = 0, None
try:
    while not stop:
        producer.produce("pageview", json.dumps({"n": n}).encode(), key=b"%d" % n, on_delivery=note)
        n += 1
        producer.poll(0.005)
    producer.flush(90)
except Exception as e:
    error = e
json.dump({"sent": n, "acked": acked, "longest": longest}, open(path, "w"))
sys.exit(error and f"the producer gave up: {error}")
P
# Reads everything that is there, and compares it with what was acknowledged.
cat >"$scratch/verify.py" <<'P'
import collections, json, sys
from confluent_kafka import Consumer, TopicPartition
bootstrap, path = sys.argv[1:]
load = json.load(open(path))
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "verify", "check.crcs": True, "log_level": 0})
ends = {p: consumer.get_watermark_offsets(TopicPartition("pageview", p), timeout=20)[1] for p in (0, 1)}
consumer.assign([TopicPartition("pageview", p, 0) for p in ends])
seen, at = collections.Counter(), {p: 0 for p in ends}
for _ in range(600):
    if all(at[p] >= end for p, end in ends.items()):
        break
    for message in consumer.consume(1000, 0.1):
        if message.error() is None:
            seen[json.loads(message.value())["n"]] += 1
            at[message.partition()] = message.offset() + 1
lost = [n for n in load["acked"] if n not in seen]
twice = [n for n, times in seen.items() if times > 1]
print(f"{load['sent']} sent, {len(load['acked'])} acknowledged, {len(lost)} lost {lost[:5]}, {len(twice)} twice {twice[:5]}, "
      f"longest pause {load['longest']:.2f} s")
sys.exit(0 if load["acked"] and not lost and not twice and all(at[p] >= end for p, end in ends.items()) else 1)
P
start_load() {
  "$venv/bin/python" "$scratch/load.py" "$hosts" "$scratch/load.json" &
  load_pid=$!
  sleep 3
}
end_load() { # ends the load; it waits for its last acknowledgements
  local code=0
  kill -TERM "$load_pid" 2>/dev/null || true
  wait "$load_pid" || code=$?
  load_pid=""
  return $code
}
nothing_is_lost() { "$venv/bin/python" "$scratch/verify.py" "$hosts" "$scratch/load.json" && "$venv/bin/python" -c "
import json; load = json.load(open('$scratch/load.json'))
print('     %d acknowledged, longest pause %.2f s' % (len(load['acked']), load['longest']))" >&3; }
python_home=$("$venv/bin/python" -c 'import sys; print(sys.base_prefix)')
borrowed=(-v /usr:/usr:ro -v "$venv:$venv:ro" -v "$scratch:$scratch:ro")
case $python_home in
  /usr | /usr/*) ;;
  *) borrowed+=(-v "$python_home:$python_home:ro") ;;
esac
# A consumer in a container of its own reads by the inner names. The base image has no Python: it borrows this machine's.
inner_read() { # inner_read BOOTSTRAP
  local network
  network=$(docker inspect --format '{{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{end}}' "$(container "${services[0]}")")
  docker run --rm --network "$network" "${borrowed[@]}" moldau-base:bookworm "$venv/bin/python" "$scratch/verify.py" \
    "$1" "$scratch/load.json"
}
bring_up() { # bring_up FILE SERVICES...
  local file=$1 started
  shift
  services=("$@")
  compose=(docker-compose -f "$file")
  "${compose[@]}" up -d >"$scratch/up" 2>&1 || cat "$scratch/up"
  started=$(date +%s%N)
  check "$file: all of ${#services[@]} containers become healthy" soon 60 all_healthy "${services[@]}"
  echo "     healthy $((($(date +%s%N) - started) / 1000000)) ms after docker-compose up returned"
}
take_down() { "${compose[@]}" down -v --timeout 30 >/dev/null 2>&1; }
tutorial() { # tutorial SERVICE: the topic with two partitions and three replicas
  check "a topic is made" says "Created topic pageview." tool "$1" kafka-topics.sh --create --topic pageview
  check "it gets a second partition" says "" tool "$1" kafka-topics.sh --alter --topic pageview --partitions 2
  check "it has three replicas" bash -c "grep -q 'ReplicationFactor: 3' <<<'$(describe "$1")'"
  check "all of them are in sync" soon 30 in_sync "$1" 3
}

exec 3>&1
MOLDAU_STATIC_BINARY=$(static_binary)
export MOLDAU_STATIC_BINARY
deploy/docker/build.sh "$MOLDAU_IMAGE"

bring_up deploy/compose.yaml kafka-1 kafka-2 kafka-3
tutorial kafka-1
start_load
leader=$(field kafka-1 0 Leader)
other=$((leader % 3 + 1))
check "the leader of pageview-0, node $leader, is killed" docker kill "$(container "kafka-$leader")"
moved() { local now; now=$(field "kafka-$other" 0 Leader); [ -n "$now" ] && [ "$now" != "$leader" ] || { echo "leader: $now"; return 1; }; }
check "another node leads" soon 30 moved
check "two replicas are in sync" soon 30 in_sync "kafka-$other" 2
sleep 3
docker start "$(container "kafka-$leader")" >/dev/null
check "the killed one is healthy again" soon 60 is_healthy "kafka-$leader"
check "three replicas are in sync again" soon 60 in_sync "kafka-$other" 3
for node in 1 2 3; do
  docker restart --time 30 "$(container "kafka-$node")" >/dev/null
  check "node $node is healthy after a restart" soon 60 is_healthy "kafka-$node"
  check "and in sync" soon 60 in_sync "kafka-$((node % 3 + 1))" 3
done
check "the load ends, with everything acknowledged that will be" end_load
check "nothing acknowledged is lost or there twice" nothing_is_lost
check "a consumer in another container reads the same from kafka-1:9092" inner_read kafka-1:9092,kafka-2:9092,kafka-3:9092
take_down

bring_up deploy/compose.controllers.yaml controller-1 controller-2 controller-3 broker-1 broker-2 broker-3
tutorial broker-1
start_load
active=$(tool broker-1 kafka-metadata-quorum.sh describe --status | awk '$1 == "LeaderId:" {print $2}')
check "the active controller, node $active, is killed" docker kill "$(container "controller-$((active - 10))")"
elected() {
  local now
  now=$(tool broker-1 kafka-metadata-quorum.sh describe --status | awk '$1 == "LeaderId:" {print $2}')
  [ -n "$now" ] && [ "$now" != "$active" ] && [ "$now" -gt 0 ] || { echo "active controller: $now"; return 1; }
}
check "another controller is active" soon 30 elected
check "a topic is made" says "Created topic after." tool broker-1 kafka-topics.sh --create --topic after
leader=$(field broker-1 0 Leader)
other=$((leader % 3 + 1))
check "the leader of pageview-0, node $leader, is killed, too" docker kill "$(container "broker-$leader")"
moved() { local now; now=$(field "broker-$other" 0 Leader); [ -n "$now" ] && [ "$now" != "$leader" ] || { echo "leader: $now"; return 1; }; }
check "another node leads" soon 30 moved
docker start "$(container "broker-$leader")" "$(container "controller-$((active - 10))")" >/dev/null
check "all are healthy again" soon 60 all_healthy "${services[@]}"
check "three replicas are in sync again" soon 60 in_sync "broker-$other" 3
check "the load ends, with everything acknowledged that will be" end_load
check "nothing acknowledged is lost or there twice" nothing_is_lost
take_down

summary
