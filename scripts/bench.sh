#!/usr/bin/env bash
# Benchmarks/versus with the release binary; further arguments go to versus.py (Benchmarks/README.md).
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
scripts/build.sh
exec python3 Benchmarks/versus/versus.py "$@"
