#!/bin/sh
# Starts the server in the container: a mounted server.properties goes before the image's, the environment before both.
set -eu
config=/opt/kafka/config/server.properties
if [ -f /mnt/shared/config/server.properties ]; then
  config=/mnt/shared/config/server.properties
fi
# A compose file written for Bitnami's image keeps its data where it mounted a volume for it.
if [ -z "${KAFKA_LOG_DIRS:-}${KAFKA_CFG_LOG_DIRS:-}" ] && mountpoint -q /bitnami/kafka; then
  set -- --override log.dirs=/bitnami/kafka/data "$@"
fi
exec moldau start --config "$config" "$@"
