#!/bin/sh
# Make the environment in .venv, or leave it alone when it is there already.
#
#   tools/environment.sh light   what `make run` needs: server and command line, no torch
#   tools/environment.sh full    the above, the facenet recipe and the development tools
#
# PYTHON names the interpreter to start from (default python3). A stamp in .venv records what was installed from which
# pyproject.toml and constraints.txt; the full environment serves for the light one.
set -eu

kind=${1:?"usage: tools/environment.sh light|full"}
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."

case $kind in
light) extras='server,cli' ;;
full) extras='server,cli,facenet,dev' ;;
*)
    echo "tools/environment.sh: no environment is called '$kind'; there are light and full" >&2
    exit 2
    ;;
esac

sources=$(cat pyproject.toml constraints.txt tools/environment.sh | cksum | tr ' ' '-')
if [ -x .venv/bin/python ]; then
    for stamp in ".venv/mien-$kind-$sources" ".venv/mien-full-$sources"; do
        if [ -e "$stamp" ]; then
            exit 0
        fi
    done
fi

if [ ! -x .venv/bin/python ]; then
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "Mien needs Python 3.11 or newer, and '$python' is not that. Install it, or name another:" >&2
        echo "    make PYTHON=/path/to/python3.11 ..." >&2
        exit 1
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "'$python' has no venv module. On Debian or Ubuntu: apt-get install python3-venv" >&2
        exit 1
    fi
    echo "making .venv with $("$python" --version)"
    "$python" -m venv .venv
fi

if [ "$kind" = full ]; then
    echo "installing mien[$extras] into .venv (torch is large: some minutes the first time)"
else
    echo "installing mien[$extras] into .venv (a minute or two the first time)"
fi
install() {
    .venv/bin/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt "$@"
}
# Build backends come from the constraints too: no build isolation, nothing unpinned. The setuptools that a new
# environment brings along may be too old to make a wheel of the one package that comes as source.
install hatchling editables setuptools
install --no-build-isolation --editable ".[$extras]"
rm -f .venv/mien-light-* .venv/mien-full-*
: >".venv/mien-$kind-$sources"
