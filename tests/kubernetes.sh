#!/usr/bin/env bash
# A cluster on Kubernetes. Applies deploy/kubernetes in a namespace of its own and walks through the tutorial at replication
# factor 3; then, under load, the pod that leads `pageview` is deleted, deleted by force and restarted with the others.
# Nothing that was acknowledged may be missing, be there twice or out of order, and every pod keeps its volume.
#   MOLDAU_IMAGE=moldau:test-shell tests/kubernetes.sh     on the cluster that $KUBECONFIG names, which has to have the image already
#   KEEP=1                                           leaves the namespace as it is at the end
#   OVERLAY=prod                                     the overlay for three machines and more, instead of dev
# Ends with 77 where there is no Kubernetes.
set -euo pipefail
cd "$(dirname "$0")/.."
image=${MOLDAU_IMAGE:-moldau:latest-shell}
overlay=${OVERLAY:-dev}
namespace=moldau-test-$$
scratch=$(mktemp -d)
made_namespace=""

finish() {
  if [ -n "$made_namespace" ] && [ -z "${KEEP:-}" ]; then
    # The grace period is for data that somebody wants to keep.
    kubectl -n "$namespace" delete pods --all --grace-period=1 --wait=false >/dev/null 2>&1 || true
    kubectl delete namespace "$namespace" --timeout=120s >/dev/null 2>&1 || echo "namespace $namespace is not gone yet"
  fi
  rm -rf "$scratch"
}
trap finish EXIT

if [ -z "${KUBECONFIG:-}" ]; then
  echo "skipped: no Kubernetes (KUBECONFIG is not set)"
  exit 77
fi
if ! kubectl get --raw /readyz --request-timeout=10s >/dev/null 2>&1; then
  echo "skipped: no Kubernetes (kubectl does not answer)"
  exit 77
fi
. tests/shell/checks.sh

k() { kubectl -n "$namespace" "$@"; }
inside() { # inside POD COMMAND...
  local pod=$1
  shift
  timeout 90 kubectl -n "$namespace" exec "$pod" -- "$@"
}
client() { inside client "$@"; }
tool() { # tool NAME ARGUMENTS...: one of Kafka's tools in the client's pod, through the service
  local name=$1
  shift
  client "$name" --bootstrap-server kafka:9092 "$@"
}
describe() { tool kafka-topics.sh --describe --topic pageview; }
field() { sed -n "s/.*Partition: $1[[:space:]].*$2: \([0-9,]*\).*/\1/p" <<<"$(describe)"; } # field PARTITION NAME
in_sync() { # in_sync COUNT: every partition has that many replicas in sync
  local isr
  for partition in 0 1; do
    isr=$(field "$partition" Isr)
    [ "$(tr ',' '\n' <<<"$isr" | grep -c .)" = "$1" ] || { describe; return 1; }
  done
}
of_pods() { k get pods -l app.kubernetes.io/name=kafka --sort-by=.metadata.name -o jsonpath="{range .items[*]}$1{\"\n\"}{end}"; }
uid() { k get pod "$1" -o jsonpath='{.metadata.uid}'; }
all_ready() { # three pods, none of them on its way out, each ready
  local shown
  shown=$(of_pods '{.metadata.deletionTimestamp}/{.status.conditions[?(@.type=="Ready")].status}')
  [ "$shown" = $'/True\n/True\n/True' ] || { k get pods; return 1; }
}
rolled_out() { k rollout status statefulset/kafka --timeout="$1"; }
replaced() { # replaced POD UID: another pod has its name, and is ready
  local now
  now=$(k get pod "$1" -o jsonpath='{.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}') || return 1
  [[ $now == *" True" && $now != "$2 "* ]] || { k get pods; return 1; }
}
# What a pod may not lose: its claim, the volume behind it, and the ids on it.
kept() {
  k get pvc --sort-by=.metadata.name -o jsonpath='{range .items[*]}{.metadata.name} {.metadata.uid} {.spec.volumeName}{"\n"}{end}'
  for node in 0 1 2; do
    inside "kafka-$node" grep -E '^(cluster.id|node.id|directory.id)=' /var/lib/kafka/data/meta.properties || return 1
  done
}

# --- the namespace, the manifests, and a client's pod beside them. Pods that need more than a restricted namespace grants
# would be refused.
kubectl create namespace "$namespace" >/dev/null
made_namespace=1
kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted >/dev/null
mkdir "$scratch/overlay"
cat >"$scratch/overlay/kustomization.yaml" <<Y
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: $namespace
resources:
  - $(realpath --relative-to="$scratch/overlay" "deploy/kubernetes/$overlay")
images:
  - name: moldau
    newName: ${image%:*}
    newTag: "${image##*:}"
Y
beside() { # beside NAME COMMAND: a pod of the same image, which runs a shell's command
  k apply -f - >/dev/null <<Y
apiVersion: v1
kind: Pod
metadata:
  name: $1
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  securityContext:
    runAsNonRoot: true
    runAsUser: 1000
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: $1
      image: $image
      imagePullPolicy: IfNotPresent
      command: [/bin/sh, -c]
      args:
        - |
$(sed 's/^/          /' <<<"$2")
      securityContext:
        allowPrivilegeEscalation: false
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: scratch
          mountPath: /scratch
  volumes:
    - name: scratch
      emptyDir: {}
Y
}
is_running() { [ "$(k get pod "$1" -o jsonpath='{.status.phase}')" = Running ] || { k describe pod "$1" | tail -n 12; return 1; }; }

k create secret generic kafka --from-literal=cluster-secret="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" >/dev/null
started=$(date +%s%N)
check "the manifests are taken, also in a restricted namespace" k apply -k "$scratch/overlay"
check "three pods become ready" soon 180 all_ready
echo "     ready $((($(date +%s%N) - started) / 1000000)) ms after kubectl apply"
if [ "$failed" != 0 ]; then
  k get pods,pvc,events
  k logs kafka-0 --tail=20 || true
  summary
  exit 1
fi
beside client 'sleep infinity'
check "a client's pod runs" soon 60 is_running client

# --- how the pods run
check "the server is no root" says 1000 inside kafka-0 id -u
read_only() { ! inside kafka-0 touch /opt/kafka/x 2>"$scratch/touch" && grep -q 'Read-only file system' "$scratch/touch"; }
check "the root file system is read-only" read_only
check "the volume can be written to" inside kafka-0 sh -c 'touch /var/lib/kafka/data/.x && rm /var/lib/kafka/data/.x'
service_links() { ! inside kafka-0 env | grep -E '^KAFKA(_[A-Z]+)*_(SERVICE_HOST|SERVICE_PORT|PORT)'; }
check "the service named kafka puts nothing into the environment" service_links
check "no token of the cluster is mounted" inside kafka-0 test ! -e /var/run/secrets/kubernetes.io
budget() { k get pdb kafka -o jsonpath='{.status.disruptionsAllowed}'; }
knows_secret() { ! k logs kafka-0 | grep 'set cluster.secret'; }
check "the nodes know one another by the secret" knows_secret
check "one pod may be disrupted" soon 30 says 1 budget

# --- the tutorial: tools in a pod, producer and consumer through the service
topics() { inside kafka-0 kafka-topics.sh --bootstrap-server localhost:9092 "$@"; }
check "a topic is made" says "Created topic pageview." topics --create --topic pageview
check "it is listed" says pageview topics --list
check "it gets a second partition" says "" topics --alter --topic pageview --partitions 2
of_three() { grep -q 'PartitionCount: 2.*ReplicationFactor: 3' <<<"$(describe)" || { describe; return 1; }; }
check "it has three replicas" of_three
check "all of them are in sync" soon 30 in_sync 3
records=$(for n in $(seq 0 9); do echo "{\"user\": \"u$n\", \"page\": \"/$n\"}"; done)
produce() { client sh -c 'printf "%s\n" "$1" | kafka-console-producer.sh --bootstrap-server kafka:9092 --topic pageview' sh "$records"; }
check "a producer in another pod" says "" produce
group() { # group NAME COUNT
  tool kafka-console-consumer.sh --topic pageview --group "$1" --from-beginning --max-messages "$2" --timeout-ms 30000 2>/dev/null | sort
}
check "a group in another pod reads it all" says "$records" group pageview-group1 10
lag() { tool kafka-consumer-groups.sh --describe --group "$1" 2>/dev/null | awk '$2 == "pageview" { lag += $6; rows++ } END { print rows ":" lag }'; }
check "and committed where it was" says 2:0 lag pageview-group1
committed() { tool kafka-consumer-groups.sh --describe --group "$1" 2>/dev/null | awk '$2 == "pageview" { print $3, $4 }' | sort; }

# --- under load. The producer ends well only if every single line was acknowledged by all in-sync replicas; a group reads
# along.
before=$(kept)
offsets=$(committed pageview-group1)
beside load 'n=0
while [ ! -e /scratch/stop ]; do echo $n; n=$((n + 1)); echo $n >/scratch/sent; sleep 0.005; done |
  kafka-console-producer.sh --bootstrap-server kafka:9092 --topic pageview --request-required-acks all &&
  echo "acknowledged $(cat /scratch/sent)"'
beside reader 'exec kafka-console-consumer.sh --bootstrap-server kafka:9092 --topic pageview --group readers --from-beginning'
both_run() { is_running load && is_running reader; }
check "a producer's and a reader's pod run" soon 60 both_run
flows() { # records go on being acknowledged: the end of the topic moves
  local first second
  first=$(ends) && sleep 1 && second=$(ends) && [ "$first" != "$second" ]
}
ends() { tool kafka-get-offsets.sh --topic pageview; }
check "records flow" soon 30 flows

leading() { echo $(($(field 0 Leader) - 1)); }
refuses_eviction() { # the budget lets no second pod go
  local answer
  answer=$(printf '{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"%s"},"deleteOptions":{"dryRun":["All"]}}' "$1" |
    k create --raw "/api/v1/namespaces/$namespace/pods/$1/eviction" -f - 2>&1) && return 1
  grep -q 'disruption budget' <<<"$answer" || { echo "$answer"; return 1; }
}
moved() { local now; now=$(leading); [ "$now" != "$1" ] || { echo "leader: $now"; return 1; }; }

leader=$(leading)
old=$(uid "kafka-$leader")
check "the leader's pod, kafka-$leader, is deleted" k delete pod "kafka-$leader" --wait=false
check "another pod leads" soon 90 moved "$leader"
check "no second pod may be evicted meanwhile" soon 60 refuses_eviction "kafka-$(((leader + 1) % 3))"
check "a new pod is ready" soon 120 replaced "kafka-$leader" "$old"
check "three replicas are in sync again" soon 60 in_sync 3
check "records flow" soon 30 flows

leader=$(leading)
old=$(uid "kafka-$leader")
check "the leader's pod, now kafka-$leader, is deleted by force" k delete pod "kafka-$leader" --grace-period=0 --force
check "another pod leads" soon 60 moved "$leader"
check "a new pod is ready" soon 180 replaced "kafka-$leader" "$old"
check "three replicas are in sync again" soon 60 in_sync 3
check "records flow" soon 30 flows

old=$(of_pods '{.metadata.uid}')
all_new() { ! of_pods '{.metadata.uid}' | grep -qFf <(echo "$old"); }
started=$SECONDS
check "a rolling restart is begun" k rollout restart statefulset/kafka
check "it comes to its end" rolled_out 400s
echo "     within $((SECONDS - started)) s"
check "every pod is a new one" all_new
check "three replicas are in sync again" soon 60 in_sync 3
check "records flow" soon 30 flows

# --- the end of the load: what was acknowledged against what is there
has_ended() { k get pod "$1" -o jsonpath='{.status.phase}' | grep -E 'Succeeded|Failed'; }
load_ends() {
  inside load touch /scratch/stop || return 1
  soon 150 has_ended load || return 1
  acknowledged=$(k logs load | sed -n 's/^acknowledged //p')
  [ -n "$acknowledged" ] || { k logs load; return 1; }
}
acknowledged=""
check "the load ends, and all of it was acknowledged" load_ends
read_partition() { # read_partition PARTITION: its records as CreateTime, offset and value
  local end
  end=$(ends | awk -F: -v p="$1" '$2 == p { print $3 }')
  tool kafka-console-consumer.sh --topic pageview --partition "$1" --offset earliest --max-messages "$end" --timeout-ms 30000 \
    --formatter-property print.timestamp=true --formatter-property print.offset=true 2>/dev/null >"$scratch/partition-$1"
  [ "$(wc -l <"$scratch/partition-$1")" = "$end" ] || { echo "partition $1: $(wc -l <"$scratch/partition-$1") of $end"; return 1; }
}
nothing_is_lost() {
  read_partition 0 && read_partition 1 || return 1
  awk -F'\t' -v sent="$acknowledged" '
    FNR == 1 { last = -1; position = 0 }
    { if ($2 != "Offset:" position++) { print FILENAME ": " $2 " at " position - 1; bad = 1 } }
    $3 ~ /^[0-9]+$/ { if ($3 + 0 <= last) disordered++; last = $3 + 0; seen[last]++ }
    END {
      for (n = 0; n < sent; n++) if (!(n in seen)) lost++
      for (n in seen) { if (seen[n] > 1) twice++; if (n + 0 >= sent) unknown++ }
      printf "%d acknowledged, %d lost, %d twice, %d out of order, %d that nobody sent\n", sent, lost, twice, disordered, unknown
      exit bad || lost || twice || disordered || unknown || sent == 0
    }' "$scratch/partition-0" "$scratch/partition-1"
}
# A record gets its time when the one before it has been answered, so the widest gap is the longest pause.
longest_pause() {
  sed -n 's/^CreateTime:\([0-9]*\)\t[^\t]*\t[0-9]*$/\1/p' "$scratch"/partition-[01] | sort -n |
    awk 'NR > 1 && $1 - last > longest { longest = $1 - last } { last = $1 } END { printf "%.2f s", longest / 1000 }'
}
check "nothing acknowledged is lost, there twice or out of order" nothing_is_lost
sed 's/^/     /' "$scratch/out"
echo "     longest pause of the producer $(longest_pause)"
readers_saw_all() { # at least once: a group that rebalances may read again what it had not committed
  local missing
  missing=$(comm -23 <(seq 0 $((acknowledged - 1)) | sort) <(k logs reader | sort -u) | wc -l)
  [ "$missing" = 0 ] || { echo "$missing records were not read"; return 1; }
}
check "the group that read along saw all of it" soon 60 readers_saw_all
check "and committed it" soon 30 says 2:0 lag readers
check "the first group's offsets are still there" says "$offsets" committed pageview-group1
check "every pod has its claim, its volume and its ids as before" says "$before" kept

# --- all at once
k delete pod load reader --wait=false >/dev/null
check "the cluster is scaled to nothing" k scale statefulset/kafka --replicas=0
no_pods() { [ -z "$(of_pods '{.metadata.name}')" ] || { k get pods; return 1; }; }
check "no pod is left" soon 150 no_pods
check "and to three again" k scale statefulset/kafka --replicas=3
check "all are ready" soon 180 all_ready
check "all replicas are in sync" soon 60 in_sync 3
check "everything is still there" nothing_is_lost
check "on the same volumes" says "$before" kept

summary
