#!/usr/bin/env bash
# Format and syntax of everything that is written by hand. `scripts/lint.sh --fix` formats the Swift files in place.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

SWIFT_PLACES=(Package.swift Sources Tests scripts)
[ ! -d Benchmarks ] || SWIFT_PLACES+=(Benchmarks)
if [ "${1:-}" = --fix ]; then
    swift format format --in-place --recursive --parallel "${SWIFT_PLACES[@]}"
fi
swift format lint --strict --recursive --parallel "${SWIFT_PLACES[@]}"
git ls-files -z -- '*.sh' .ci/run | while IFS= read -r -d '' script; do
    bash -n "$script"
done
python3 - <<'PYTHON'
import ast, pathlib, subprocess, sys
broken = 0
for name in subprocess.run(["git", "ls-files", "*.py"], capture_output=True, text=True, check=True).stdout.split():
    try:
        text = pathlib.Path(name).read_text()
    except FileNotFoundError:
        continue
    ast.parse(text, name)
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > 120 or line != line.rstrip() or "\t" in line:
            print(f"{name}:{number}: over 120 columns, trailing space or tab")
            broken += 1
sys.exit(1 if broken else 0)
PYTHON
