#!/usr/bin/env bash
# `make run`: the proxy, a services file with two demo services, and the demo backends behind them, on this machine.
# A Docker engine is watched too if one is here. Ctrl-C ends everything that was started, and nothing else.
# Any INTERLOCK_* setting of the caller goes first.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
scripts/build.sh

DIRECTORY="$(mktemp -d -t interlock-run.XXXXXX)"
PROCESSES=()

finish() {
    trap - EXIT INT TERM HUP
    [ ${#PROCESSES[@]} = 0 ] || kill "${PROCESSES[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$DIRECTORY"
}
trap finish EXIT
trap 'exit 0' INT TERM HUP

# True if a listener on that port of 127.0.0.1 answers already.
is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The first of those ports that this user may bind and nobody holds.
first_free() {
    local port lowest
    lowest="$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start 2>/dev/null || echo 1024)"
    for port in "$@"; do
        { [ "$port" -ge "$lowest" ] || [ "$(id -u)" = 0 ]; } || continue
        is_taken "$port" || { echo "$port"; return; }
    done
    echo "no free port among: $*" >&2
    return 1
}

# In a session of its own: Ctrl-C reaches this script alone, which then asks each of them once.
start() {
    setsid "$@" &
    PROCESSES+=($!)
}

backends=(
    "$(first_free 9001 19001 29001)"
    "$(first_free 9002 19002 29002)"
    "$(first_free 9003 19003 29003)"
)
http="$(first_free 80 8080 8000 18080 28080)"
https="$(first_free 443 8443 18443 28443)"
admin="$(first_free 9180 19180 29180)"
export INTERLOCK_HTTP_LISTEN="${INTERLOCK_HTTP_LISTEN:-:$http}"
export INTERLOCK_HTTPS_LISTEN="${INTERLOCK_HTTPS_LISTEN:-:$https}"
export INTERLOCK_ADMIN_LISTEN="${INTERLOCK_ADMIN_LISTEN:-127.0.0.1:$admin}"
http="${INTERLOCK_HTTP_LISTEN##*:}"
https="${INTERLOCK_HTTPS_LISTEN##*:}"
admin="${INTERLOCK_ADMIN_LISTEN##*:}"

if [ -z "${INTERLOCK_SERVICES_FILE:-}" ]; then
    export INTERLOCK_SERVICES_FILE="$DIRECTORY/services.json"
    sed -e "s/9001/${backends[0]}/" -e "s/9002/${backends[1]}/" -e "s/9003/${backends[2]}/" \
        docker/demo/services.json >"$INTERLOCK_SERVICES_FILE"
    # A certificate that nobody trusts, for the demo hosts; gone with the directory.
    if [ -z "${INTERLOCK_CERTS_DIR:-}" ] && [ "$https" != off ] && command -v openssl >/dev/null; then
        export INTERLOCK_CERTS_DIR="$DIRECTORY/certificates"
        mkdir -m 700 "$INTERLOCK_CERTS_DIR"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7 -subj "/CN=whoami.localhost" \
            -addext "subjectAltName=DNS:whoami.localhost,DNS:shop.localhost" \
            -keyout "$INTERLOCK_CERTS_DIR/demo.key" -out "$INTERLOCK_CERTS_DIR/demo.crt" 2>/dev/null
        export INTERLOCK_HTTPS_PUBLIC_PORT="${INTERLOCK_HTTPS_PUBLIC_PORT:-$https}"
        tls_hint="
  curl -k https://shop.localhost:$https/shop/basket                 # TLS; the certificate is in $INTERLOCK_CERTS_DIR"
    fi
    start "$RELEASE_BINARY" demo-backend --listen "127.0.0.1:${backends[0]}" --name whoami-1
    start "$RELEASE_BINARY" demo-backend --listen "127.0.0.1:${backends[1]}" --name whoami-2
    start "$RELEASE_BINARY" demo-backend --listen "127.0.0.1:${backends[2]}" --name shop-1
fi
start "$RELEASE_BINARY"
proxy=${PROCESSES[-1]}

for _ in $(seq 100); do
    kill -0 "$proxy" 2>/dev/null || { wait "$proxy"; exit $?; }
    ! is_taken "$http" || break
    sleep 0.1
done

cat <<TEXT

Interlock listens on port $http. Try:
  curl -H 'Host: whoami.localhost' http://127.0.0.1:$http/          # two tasks take turns: see "name"
  curl http://shop.localhost:$http/shop/basket                      # a path prefix that is stripped
  curl -i -H 'Host: nobody.localhost' http://127.0.0.1:$http/       # a host that no service claims${tls_hint:-}
  curl http://127.0.0.1:$admin/api/routes                           # the live table
  curl http://127.0.0.1:$admin/metrics
A browser shows http://whoami.localhost:$http/ and http://127.0.0.1:$admin/ as pages.
The services are in $INTERLOCK_SERVICES_FILE: edit it and save, it is watched.
Ctrl-C ends it.

TEXT
wait "$proxy"
