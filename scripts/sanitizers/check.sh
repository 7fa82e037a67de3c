#!/usr/bin/env bash
# Does ThreadSanitizer still catch a race, with exactly the preload and the suppressions of the tsan part? And is it
# silent where a lock keeps order? A silent sanitizer would make every test after it worthless, so this runs first.
#   scripts/sanitizers/check.sh DIRECTORY        with LD_PRELOAD and TSAN_OPTIONS as the tests will have them
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
PLANTED="$1/planted"
# The compiler is no subject of this.
env -u LD_PRELOAD swiftc -O -g -swift-version 6 -sanitize=thread \
    -o "$PLANTED" scripts/sanitizers/Planted.swift

broken=0
# tell CASE WANTED: one run; `reported` means that TSan named a race and ended the process with its own status, 66.
tell() {
    local status=0 seen=other
    "$PLANTED" "$1" >"$PLANTED.log" 2>&1 || status=$?
    if [ "$status" = 66 ] && grep -q 'WARNING: ThreadSanitizer: .*race' "$PLANTED.log"; then seen=reported; fi
    if [ "$status" = 0 ] && ! grep -q ThreadSanitizer "$PLANTED.log"; then seen=silent; fi
    echo "planted race '$1': $seen (wanted: $2)"
    [ "$seen" = "$2" ] || { broken=1; echo "exit $status:"; head -40 "$PLANTED.log"; }
}
tell pointer reported
tell array reported
tell forgotten reported
tell locked silent
exit "$broken"
