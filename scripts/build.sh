#!/usr/bin/env bash
# The release binary, .build/release/interlock.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
swift build "${RELEASE_FLAGS[@]}"
