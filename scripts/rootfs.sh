#!/usr/bin/env bash
# Assembles docker/rootfs, the whole content of the image: the binary, the shared libraries it names and nothing else of
# a distribution; and docker/rootfs.owned, which belongs to the image's user. No shell, no package manager. Needs no
# Docker.
#   scripts/rootfs.sh [BINARY [DIRECTORY]]
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
BINARY="${1:-$RELEASE_BINARY}"
TREE="${2:-$ROOT/docker/rootfs}"
CERTIFICATES=/etc/ssl/certs/ca-certificates.crt

[ -x "$BINARY" ] || { echo "no binary at $BINARY: make build" >&2; exit 2; }
rm -rf "$TREE" "$TREE.owned"
mkdir -p "$TREE"/{etc/ssl/certs,run,tmp,usr/lib/ssl,var/run} "$TREE.owned/interlock"
chmod 1777 "$TREE/tmp"

install -m 755 "$BINARY" "$TREE/interlock"
strip --strip-unneeded "$TREE/interlock" 2>/dev/null || true

# Each library at the path that the loader will look at; ld.so is the line without an arrow.
libraries="$(ldd "$BINARY" | awk '/=> \//{print $3} /^[ \t]*\//{print $1}')"
if ldd "$BINARY" | grep -q 'not found'; then
    ldd "$BINARY" | grep 'not found' >&2
    exit 1
fi
for library in $libraries; do
    install -D -m 755 "$library" "$TREE$library"
done

if [ -r "$CERTIFICATES" ]; then
    install -m 644 "$CERTIFICATES" "$TREE$CERTIFICATES"
else
    echo "no $CERTIFICATES here (package ca-certificates): TLS to the outside will trust nobody" >&2
    : >"$TREE$CERTIFICATES"
fi
# Where OpenSSL looks by default.
ln -s "$CERTIFICATES" "$TREE/usr/lib/ssl/cert.pem"
ln -s /etc/ssl/certs "$TREE/usr/lib/ssl/certs"

printf 'root:x:0:0:root:/:/nonexistent\ninterlock:x:65532:65532:interlock:/:/nonexistent\n' >"$TREE/etc/passwd"
printf 'root:x:0:\ninterlock:x:65532:\n' >"$TREE/etc/group"
printf 'hosts: files dns\n' >"$TREE/etc/nsswitch.conf"
du -sh "$TREE" | sed 's/\t.*/ in docker\/rootfs/'
