#!/bin/sh
# Builds the fuzz targets with libFuzzer and AddressSanitizer and runs each for SECONDS, starting from the kept corpus.
# Fails if a target finds anything, or if the canary's planted bug is not found. A finding is printed so that it can be
# had again from the log of a machine that is gone: base64, to be put into a file that is the program's argument.
#
#   Tests/Fuzz/run.sh SECONDS [TARGET...]
set -eu
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
here=$(cd "$(dirname "$0")" && pwd)
work=${FUZZ_DIR:-${TMPDIR:-/tmp}/interlock-fuzz.$(id -u)}
targets=${*:-"canary request response chunked proxy target hello tls pem snapshot feed"}
sources=$here/../../Sources
feed=$(cd "$sources/Feed" && ls "$PWD"/FeedFields.swift "$PWD"/FeedFrame*.swift "$PWD"/Feed*Session.swift \
    "$PWD"/FeedPublication.swift \
    "$PWD"/FeedContent.swift)
mkdir -p "$work/objects" "$work/seeds/pem" "$work/seeds/tls"

echo "building into $work"
build() {
    # What SwiftPM does for a C target without a module map of its own.
    printf 'module COpenSSL { umbrella header "%s/COpenSSL/include/COpenSSL.h" export * }\n' "$sources" \
        >"$work/objects/module.modulemap"
    for file in "$sources"/COpenSSL/*.c; do
        clang -c -O1 -g -fsanitize=fuzzer-no-link,address -I "$sources/COpenSSL/include" "$file" \
            -o "$work/objects/$(basename "$file" .c).o" || return 1
    done
    # A module of its own: Wire has a PathPolicy too.
    swiftc -swift-version 6 -O -g -wmo -enable-upcoming-feature InternalImportsByDefault -parse-as-library \
        -sanitize=fuzzer,address -module-name Model -emit-module -emit-module-path "$work/objects/Model.swiftmodule" \
        -c "$sources"/Model/*.swift -o "$work/objects/Model.o" || return 1
    # The feed's frames and sessions import TLS, which is in the module itself.
    : >"$work/objects/TLS.swift"
    swiftc -parse-as-library -module-name TLS -emit-module -emit-module-path "$work/objects/TLS.swiftmodule" \
        "$work/objects/TLS.swift" || return 1
    find "$sources/Wire" "$sources/TLS" "$here" $feed -name '*.swift' -print0 | xargs -0 swiftc -swift-version 6 -O -g \
        -enable-upcoming-feature InternalImportsByDefault \
        -parse-as-library -sanitize=fuzzer,address -module-name Fuzz -I "$work/objects" "$work"/objects/*.o \
        -lssl -lcrypto -o "$work/fuzz"
}
build 2>"$work/build.log" || {
    cat "$work/build.log" >&2
    exit 1
}

# Certificates are made here and kept nowhere: a key does not belong into a repository.
export FUZZ_CREDENTIALS="$work/credentials.pem"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=fuzz \
    -addext subjectAltName=DNS:fuzz,DNS:*.fuzz -keyout "$work/key.pem" -out "$work/certificate.pem" 2>/dev/null
cat "$work/certificate.pem" "$work/key.pem" >"$FUZZ_CREDENTIALS"
cp "$FUZZ_CREDENTIALS" "$work/certificate.pem" "$work/key.pem" "$work/seeds/pem"
openssl genpkey -algorithm ed25519 -out "$work/seeds/pem/ed25519.pem"
openssl ec -in "$work/key.pem" -out "$work/seeds/pem/sec1.pem" 2>/dev/null
cp "$here"/corpus/hello/* "$work/seeds/tls"

export ASAN_OPTIONS=detect_leaks=0 SWIFT_BACKTRACE=enable=no

# Whether what was found stands: all of it but inputs that took too long on a busy machine and alone do not.
stands() {
    for finding in "$1"/*; do
        [ -f "$finding" ] || return 0
        echo "  $(basename "$finding"): $(base64 -w 0 "$finding")"
        case $finding in
        */timeout-* | */slow-unit-*) "$work/fuzz" -timeout=10 "$finding" >"$1.alone" 2>&1 || return 0 ;;
        *) return 0 ;;
        esac
    done
    return 1
}

failed=
for target in $targets; do
    export FUZZ_TARGET="$target"
    mkdir -p "$work/corpus/$target" "$work/seeds/$target"
    findings=$(mktemp -d "$work/findings-$target.XXXXXX")
    kept="$work/seeds/$target"
    [ ! -d "$here/corpus/$target" ] || kept="$here/corpus/$target $kept"
    log=$work/$target.log
    status=0
    limit=$seconds
    # It ends with its find, mostly within half a second.
    [ "$target" != canary ] || limit=60
    # shellcheck disable=SC2086 # two folders
    "$work/fuzz" -max_total_time="$limit" -max_len=2048 -timeout=10 -print_final_stats=1 \
        -artifact_prefix="$findings/" "$work/corpus/$target" $kept >"$log" 2>&1 || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ "$target" = canary ]; then
        if [ $status -eq 0 ]; then
            echo "canary: the planted bug was not found: the run proves nothing"
            failed="$failed canary"
        else
            echo "canary: the planted bug was found"
        fi
        rm -rf "$work/corpus/canary" "$findings"
    elif [ $status -eq 0 ]; then
        echo "$target: ${runs:-?} inputs, nothing found"
        rm -rf "$findings"
    else
        echo "$target: exit $status after ${runs:-?} inputs, see $log; found, in base64:"
        # 70: libFuzzer's own time-out. Whoever ends otherwise has no excuse.
        if stands "$findings" || [ $status -ne 70 ]; then
            grep -a -m 5 -E 'property violated|ERROR:|SUMMARY:|ALARM:|Fatal error' "$log" || tail -n 5 "$log"
            failed="$failed $target"
        else
            echo "  which took too long here only, and not alone: the machine was busy"
        fi
    fi
done
[ -z "$failed" ] || {
    echo "failed:$failed"
    exit 1
}
