#!/bin/sh
# Get what the tests need beyond Python, where this user may: a browser, and Prometheus' checker of rules.
# Elsewhere they say what they skip. A second run gets nothing.
set -eu
say() { printf '%s\n' "$*"; }

VENV="${VENV:-.venv}"
export DEBIAN_FRONTEND=noninteractive
is_root() { [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; }

browser() {
    command -v chromium >/dev/null 2>&1 && return 0
    if ! is_root; then
        say "No chromium here, and it can not be installed by this user: the tests in a browser are skipped."
        return 0
    fi
    say "set-up: installing chromium, for the tests in a browser"
    if ! { apt-get update -q && apt-get install -y -q --no-install-recommends chromium; } >/dev/null 2>&1; then
        say "chromium can not be installed now: the tests in a browser are skipped."
    fi
}

# promtool comes in Debian's package of the whole server, which starts it when it is installed: the package is fetched,
# and the one program taken out of it.
checker() {
    command -v promtool >/dev/null 2>&1 && return 0
    [ -x "$VENV/bin/promtool" ] && return 0
    if ! is_root; then
        say "No promtool here, and it can not be fetched by this user: the tests of alert rules are skipped."
        return 0
    fi
    say "set-up: fetching promtool, for the tests of alert rules"
    folder="$(mktemp -d)"
    chmod 755 "$folder" # apt drops its privileges while it downloads
    if ! {
        apt-get update -q && (cd "$folder" && apt-get download -q prometheus) &&
            dpkg-deb --fsys-tarfile "$folder"/prometheus_*.deb | tar -x -C "$folder" ./usr/bin/promtool &&
            mkdir -p "$VENV/bin" && mv "$folder/usr/bin/promtool" "$VENV/bin/promtool"
    } >/dev/null 2>&1; then
        say "promtool can not be fetched now: the tests of alert rules are skipped."
    fi
    rm -rf "$folder"
}

browser
checker
