# Sourced by every script: where the tree is, where Swift is, and how things are built so that builds are shared.
# shellcheck shell=bash
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"

if ! command -v swift >/dev/null && [ -x /opt/swift/usr/bin/swift ]; then
    export PATH="$PATH:/opt/swift/usr/bin"
fi
command -v swift >/dev/null || {
    echo "no swift on PATH and none in /opt/swift: install the Swift 6.3 toolchain (https://swift.org/install)" >&2
    exit 2
}

# One set of flags for a debug build: other flags would mean other build products and a second full build.
DEBUG_FLAGS=(-Xswiftc -warnings-as-errors --explicit-target-dependency-import-check error)
# The binary that is shipped, run and measured: Swift's own libraries inside, the C libraries of the system outside.
RELEASE_FLAGS=(-c release --static-swift-stdlib --product interlock)
RELEASE_BINARY="$ROOT/.build/release/interlock"
