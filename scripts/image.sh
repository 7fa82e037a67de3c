#!/usr/bin/env bash
# Builds the image. The base is `scratch`, so no registry is needed. DOCKER_HOST and DOCKER choose engine and client.
#   scripts/image.sh [NAME:TAG]
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
IMAGE="${1:-${INTERLOCK_IMAGE:-interlock:latest}}"
DOCKER="${DOCKER:-docker}"

scripts/build.sh
scripts/rootfs.sh
# A client without the buildx plugin cannot use BuildKit, and nothing in this Dockerfile needs it.
"$DOCKER" buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0
"$DOCKER" build --tag "$IMAGE" docker
echo "image: $IMAGE"
