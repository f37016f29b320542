#!/bin/sh
# Make the virtual environment $1 from the first Python >= 3.11, or say what is missing. $PYTHON, if set, is the only candidate.
set -eu
case ${1:-} in
"" | -*)
    printf 'usage: sh scripts/make_venv.sh FOLDER\n' >&2
    exit 2
    ;;
esac
venv=$1
here=$(pwd)

say() { printf '%s\n' "$*" >&2; }
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has_pip() { "$venv/bin/python" -m pip --version >/dev/null 2>&1; }

find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        if new_enough "$candidate"; then
            printf '%s' "$candidate"
            return
        fi
    done
    if [ -n "${PYTHON:-}" ]; then
        say "PYTHON=$PYTHON is no Python >= 3.11 ($("$PYTHON" --version 2>&1 || true))."
    else
        say "No Python >= 3.11 found (python3 is: $(python3 --version 2>&1 || echo missing))."
    fi
    say "Install one, or name it: make PYTHON=/path/to/python3.12 ..."
    exit 1
}

# Some systems ship venv without ensurepip: then the interpreter's own pip can fill the environment.
create() {
    "$1" -m venv --clear "$venv" >/dev/null 2>&1 && has_pip && return
    "$1" -m venv --clear --without-pip "$venv" >/dev/null 2>&1 || return 1
    "$1" -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check pip >/dev/null 2>&1 && has_pip
}

# Last resort, and only where it can help: the system's own interpreter, really without ensurepip, on a system with apt.
system_package_would_help() {
    ! "$1" -c 'import ensurepip' >/dev/null 2>&1 && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 &&
        case $(command -v "$1") in /usr/bin/*) true ;; *) false ;; esac
}

install_system_package() {
    say "$1 has no ensurepip: installing the system package $2."
    apt-get install -y -qq --no-install-recommends "$2" >/dev/null 2>&1 && return
    apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}

if [ ! -f "$venv/.home" ] && new_enough "$venv/bin/python" && has_pip; then
    printf '%s\n' "$here" >"$venv/.home" # made by hand, here: kept
    exit 0
fi

python=$(find_python)
if ! create "$python"; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if ! { system_package_would_help "$python" && install_system_package "$python" "$package" && create "$python"; }; then
        say "$python can not make a virtual environment with pip in it. What it says:"
        "$python" -m venv --clear "$venv" >&2 || true
        say "Install its venv package (Debian, Ubuntu: apt-get install $package), then run make again."
        exit 1
    fi
fi
printf '%s\n' "$here" >"$venv/.home"
printf '%s in %s\n' "$("$venv/bin/python" --version)" "$venv"
