#!/bin/sh
# Builds all images in their order; arguments go to each `docker build` (--build-arg BASE_IMAGE=…).
#   deploy/build.sh [--no-cache …]        REGISTRY=radicalspam TAG=latest
set -eu
cd "$(dirname "$0")/.."
registry=${REGISTRY:-radicalspam}
tag=${TAG:-latest}

docker build -t "$registry/rs-agent:$tag" "$@" .
docker build -t "$registry/rs-clamav:$tag" "$@" deploy/clamav
docker build -t "$registry/rs-spamd:$tag" "$@" deploy/spamd
docker build -t "$registry/rs-postfix:$tag" "$@" deploy/postfix
for engine in av:clamav spam:spamd; do
  worker=rs-${engine%%:*}-worker
  docker build -t "$registry/$worker:$tag" --build-arg AGENT_IMAGE="$registry/rs-agent:$tag" \
    --build-arg ENGINE_IMAGE="$registry/rs-${engine##*:}:$tag" "deploy/${worker#rs-}"
done
