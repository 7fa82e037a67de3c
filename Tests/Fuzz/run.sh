#!/bin/sh
# Builds the fuzz targets with libFuzzer and AddressSanitizer and runs each for SECONDS, starting from the kept corpus.
# Fails if a target finds anything, or if the canary's planted bug is not found.
#
#   Tests/Fuzz/run.sh SECONDS [TARGET...]
set -eu
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
here=$(cd "$(dirname "$0")" && pwd)
work=${FUZZ_DIR:-${TMPDIR:-/tmp}/interlock-fuzz.$(id -u)}
targets=${*:-"canary request response chunked proxy target hello"}
mkdir -p "$work"

echo "building into $work"
find "$here/../../Sources/Wire" "$here" -name '*.swift' -print0 | xargs -0 swiftc -swift-version 6 -O -g \
    -parse-as-library -sanitize=fuzzer,address -module-name Fuzz -o "$work/fuzz" 2>"$work/build.log" || {
    cat "$work/build.log" >&2
    exit 1
}

export ASAN_OPTIONS=detect_leaks=0 SWIFT_BACKTRACE=enable=no
failed=
for target in $targets; do
    mkdir -p "$work/corpus/$target" "$work/findings/$target"
    log=$work/$target.log
    status=0
    FUZZ_TARGET=$target "$work/fuzz" -max_total_time="$seconds" -max_len=1024 -timeout=10 -print_final_stats=1 \
        -artifact_prefix="$work/findings/$target/" "$work/corpus/$target" "$here/corpus/$target" \
        >"$log" 2>&1 || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ "$target" = canary ]; then
        if [ $status -eq 0 ]; then
            echo "canary: the planted bug was not found: the run proves nothing"
            failed="$failed canary"
        else
            echo "canary: the planted bug was found"
        fi
        rm -rf "$work/corpus/canary" "$work/findings/canary"
    elif [ $status -ne 0 ]; then
        echo "$target: failed, see $log and $work/findings/$target"
        grep -a -m 3 -E 'property violated|ERROR:|SUMMARY:' "$log" || true
        failed="$failed $target"
    else
        echo "$target: ${runs:-?} inputs, nothing found"
    fi
done
[ -z "$failed" ] || exit 1
