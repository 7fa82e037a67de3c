#!/usr/bin/env bash
# Installs what the named groups need and nothing that is there already; run it as often as you like.
#   scripts/install.sh build         what `swift build` needs
#   scripts/install.sh build test    and what `make test` needs, with a Python environment in .venv
#   scripts/install.sh build bench   and what `make bench` needs
# Works as root or through sudo. It starts no service: a package's daemon stays off (policy-rc.d) while it installs.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# The second line: what the Swift toolchain itself needs, where it was unpacked without a package.
BUILD_PACKAGES=(
    git binutils libc6-dev libstdc++-12-dev libssl-dev zlib1g-dev pkg-config
    libcurl4 libedit2 libncurses6 libsqlite3-0 libxml2 tzdata
)
BENCH_PACKAGES=(haproxy nginx-light openssl strace wrk curl python3 gcc)
TEST_PACKAGES=(
    ca-certificates curl docker.io docker-compose gcc haproxy iproute2 iptables libnginx-mod-stream nginx-light openssl
    procps prometheus python3 python3-venv util-linux wrk
    # Real clients and servers behind TLS and TCP ports; each test starts its own, none of the machine's is touched.
    mosquitto mosquitto-clients postgresql postgresql-client redis-server redis-tools testssl.sh
)

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_packages() {
    local missing=() package policy=/usr/sbin/policy-rc.d status=0
    for package in "$@"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    if ! command -v apt-get >/dev/null; then
        echo "not Debian: please install the equivalents of: ${missing[*]}" >&2
        exit 2
    fi
    echo "installing: ${missing[*]}"
    as_root apt-get -o Acquire::Retries=3 -qq update
    if [ -e "$policy" ]; then
        policy=
    else
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -qq install \
        -y --no-install-recommends "${missing[@]}" >/dev/null || status=$?
    [ -z "$policy" ] || as_root rm -f "$policy"
    return "$status"
}

install_python_environment() {
    local wanted environment="$ROOT/.venv"
    wanted="$(sha256sum "$ROOT/Tests/requirements.txt" | cut -d' ' -f1)"
    if [ -x "$environment/bin/python" ] && [ "$(cat "$environment/requirements.sha256" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    echo "installing: .venv from Tests/requirements.txt"
    /usr/bin/python3 -m venv --clear "$environment"
    if ! "$environment/bin/pip" install --quiet --disable-pip-version-check -r "$ROOT/Tests/requirements.txt"; then
        echo "PyPI cannot be reached: Debian's own pytest instead, older but enough" >&2
        install_packages python3-pytest python3-pytest-timeout python3-pytest-xdist python3-pytest-rerunfailures
        /usr/bin/python3 -m venv --clear --system-site-packages --without-pip "$environment"
    fi
    "$environment/bin/python" -c 'import pytest, pytest_timeout'
    echo "$wanted" >"$environment/requirements.sha256"
}

for group in "$@"; do
    case "$group" in
    build) install_packages "${BUILD_PACKAGES[@]}" ;;
    bench) install_packages "${BENCH_PACKAGES[@]}" ;;
    test)
        install_packages "${TEST_PACKAGES[@]}"
        install_python_environment
        ;;
    *)
        echo "unknown group '$group': build, test, bench" >&2
        exit 2
        ;;
    esac
done
