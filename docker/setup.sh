#!/usr/bin/env bash
# Prepares a Swarm for docker/stack.yaml. It makes the credentials of the feed, a key for session tickets and tokens
# for the admin pages, hands them to Docker as secrets, and makes the network that proxies and apps share. Run it on a
# manager. It can be run again: what is there is kept, and said so. No key stays on this machine's disk but the feed's
# CA, which makes further credentials: put its file away.
#   docker/setup.sh [--authority FILE] [--clusters a,b] [--network NAME] [--image IMAGE]
#     --authority   the feed's CA; read if it is there, else written (default: ./feed-ca.pem)
#     --clusters    further proxy groups that get credentials of their own
#     --network     the overlay network that proxies and apps share (default: web)
#     --image       default: INTERLOCK_IMAGE, else interlock:latest; with INTERLOCK_BINARY, a local binary, none is run
set -euo pipefail
umask 077

DOCKER="${DOCKER:-docker}"
IMAGE="${INTERLOCK_IMAGE:-interlock:latest}"
BINARY="${INTERLOCK_BINARY:-}"
AUTHORITY=./feed-ca.pem
CLUSTERS=""
NETWORK=web
WORK=""

fail() {
    echo "setup: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case "$1" in
    --authority | --clusters | --network | --image) [ $# -ge 2 ] || fail "$1 needs a value" ;;
    -h | --help)
        sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *) fail "unknown argument $1; --help tells which there are" ;;
    esac
    case "$1" in
    --authority) AUTHORITY="$2" ;;
    --clusters) CLUSTERS="$2" ;;
    --network) NETWORK="$2" ;;
    --image) IMAGE="$2" ;;
    esac
    shift 2
done

clean() {
    [ -z "$WORK" ] || rm -rf "$WORK"
}
trap clean EXIT
trap 'exit 130' INT TERM HUP

# No pipe: with many secrets grep would end it before all of them are in, and that counts as a failure.
has_secret() {
    grep -Fxq -- "$1" <<<"$SECRETS"
}

# Name, then the secret on standard input. The label: whatever services' labels name, this is the operator's own.
make_secret() {
    "$DOCKER" secret create --label com.docker.lb.reserved=true "$1" - >/dev/null
    echo "made secret $1"
}

# Memory if there is some, so that no key ever is on a disk.
make_work() {
    local place
    for place in "${XDG_RUNTIME_DIR:-}" /dev/shm "${TMPDIR:-/tmp}"; do
        [ -d "$place" ] && [ -w "$place" ] || continue
        WORK="$(mktemp -d "$place/interlock-setup.XXXXXXXX")"
        return
    done
    fail "there is no directory for temporary files"
}

feed_init() {
    local words=(feed-init --directory)
    if [ -n "$BINARY" ]; then
        words+=("$WORK")
        [ -z "$CLUSTERS" ] || words+=(--clusters "$CLUSTERS")
        "$BINARY" "${words[@]}"
        return
    fi
    "$DOCKER" image inspect "$IMAGE" >/dev/null 2>&1 || "$DOCKER" pull --quiet "$IMAGE" >/dev/null ||
        fail "there is no image $IMAGE: make it, or name another with --image"
    words+=(/out)
    [ -z "$CLUSTERS" ] || words+=(--clusters "$CLUSTERS")
    # As whoever runs this, who is to read the files.
    "$DOCKER" run --rm --network none --read-only --cap-drop ALL --user "$(id -u):$(id -g)" \
        --volume "$WORK:/out" "$IMAGE" "${words[@]}"
}

# The names of the secrets and of the files that feed-init makes for them.
feed_secrets() {
    echo "interlock_feed_controller feed-controller.pem"
    echo "interlock_feed_proxy feed-proxy.pem"
    echo "interlock_feed_extension feed-extension.pem"
    local cluster
    for cluster in ${CLUSTERS//,/ }; do
        echo "interlock_feed_proxy_$cluster feed-proxy-$cluster.pem"
        echo "interlock_feed_extension_$cluster feed-extension-$cluster.pem"
    done
}

make_credentials() {
    local name file missing=0 there=0
    while read -r name file; do
        if has_secret "$name"; then
            echo "kept secret $name"
            there=1
        else
            missing=1
        fi
    done < <(feed_secrets)
    [ "$missing" = 1 ] || return 0
    if [ ! -e "$AUTHORITY" ] && [ "$there" = 1 ]; then
        fail "some credentials are there, and the CA that made them is not in $AUTHORITY: name its file with" \
            "--authority, or remove the secrets interlock_feed_... to begin anew"
    fi
    make_work
    if [ -e "$AUTHORITY" ]; then
        cp -- "$AUTHORITY" "$WORK/feed-ca.pem" || fail "cannot read $AUTHORITY"
    fi
    feed_init >"$WORK/said" || {
        cat "$WORK/said" >&2
        fail "feed-init failed"
    }
    # The CA first: credentials without it could not be renewed.
    if [ -e "$AUTHORITY" ]; then
        echo "kept $AUTHORITY"
    else
        install -m 600 -- "$WORK/feed-ca.pem" "$AUTHORITY" || fail "cannot write $AUTHORITY"
        echo "made $AUTHORITY, the feed's CA: put it away where no node can read it"
    fi
    while read -r name file; do
        has_secret "$name" || make_secret "$name" <"$WORK/$file"
    done < <(feed_secrets)
}

# What a token opens: a controller's may pin a configuration, so no proxy holds it.
make_token() {
    local token
    if has_secret "$1"; then
        echo "kept secret $1"
    else
        token="$(head -c 24 /dev/urandom | base64 -w 0 | tr '+/' '-_')"
        printf '%s' "$token" | make_secret "$1"
        echo "  the token for the admin pages of $2, shown this once: $token"
    fi
}

make_others() {
    if has_secret interlock_ticket_key; then
        echo "kept secret interlock_ticket_key"
    else
        head -c 48 /dev/urandom | base64 -w 0 | make_secret interlock_ticket_key
    fi
    make_token interlock_admin_token controllers
    make_token interlock_proxy_token proxies
}

make_network() {
    local driver
    if driver="$("$DOCKER" network inspect --format '{{.Driver}} {{.Scope}}' "$NETWORK" 2>/dev/null)"; then
        [ "$driver" = "overlay swarm" ] || fail "there is a network $NETWORK that is no overlay of the Swarm: ($driver)"
        echo "kept network $NETWORK"
    else
        "$DOCKER" network create --driver overlay "$NETWORK" >/dev/null
        echo "made network $NETWORK"
    fi
}

[[ "$CLUSTERS" =~ ^[A-Za-z0-9._,-]*$ ]] ||
    fail "clusters with other characters than letters, digits, . _ - get their credentials by feed-init"
state="$("$DOCKER" info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}')" ||
    fail "cannot talk to Docker"
case "$state" in
"active true") ;;
"active "*) fail "this node is a worker: run it on a manager" ;;
*) fail "this engine is in no Swarm: docker swarm init" ;;
esac
SECRETS="$("$DOCKER" secret ls --format '{{.Name}}')"

make_credentials
make_others
make_network
cat <<NEXT

Next:
  docker stack deploy -c docker/stack.yaml lb
Then deploy services on the network $NETWORK with labels such as com.docker.lb.hosts.
NEXT
