#!/bin/sh
# Install what the tests need beyond Python, where this user may: a browser. Elsewhere they say what they skip.
set -eu
say() { printf '%s\n' "$*"; }

if command -v chromium >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    say "No chromium here, and it can not be installed by this user: the tests in a browser are skipped."
    exit 0
fi
say "set-up: installing chromium, for the tests in a browser"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -q && apt-get install -y -q --no-install-recommends chromium; } >/dev/null 2>&1; then
    say "chromium can not be installed now: the tests in a browser are skipped."
fi
