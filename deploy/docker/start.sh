#!/bin/sh
# Starts the server in the container. A mounted server.properties goes before the image's, the environment before both.
set -eu
config=/opt/kafka/config/server.properties
listeners=${KAFKA_LISTENERS:-${KAFKA_CFG_LISTENERS:-}}
advertised=${KAFKA_ADVERTISED_LISTENERS:-${KAFKA_CFG_ADVERTISED_LISTENERS:-}}
if [ -f /mnt/shared/config/server.properties ]; then
  config=/mnt/shared/config/server.properties
elif [ -n "$listeners$advertised" ]; then
  # The environment has listeners of its own: those of the image, and its controller's among them, would contradict them.
  config=/opt/kafka/config/base.properties
  if [ -z "$listeners" ]; then
    # As Confluent's image does: a listener on every interface for each name that clients are told.
    set -- --override listeners="$(printf %s "$advertised" | sed 's#://[^,]*:#://:#g')" "$@"
  fi
fi
# A compose file written for Bitnami's image keeps its data where it mounted a volume for it.
if [ -z "${KAFKA_LOG_DIRS:-}${KAFKA_CFG_LOG_DIRS:-}" ] && mountpoint -q /bitnami/kafka; then
  set -- --override log.dirs=/bitnami/kafka/data "$@"
fi
exec moldau start --config "$config" "$@"
