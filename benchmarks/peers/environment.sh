#!/bin/sh
# Make .venv-peers: the server and what it is compared with, or leave it alone when it is there already.
#
# PYTHON names the interpreter to start from (default python3). A peer that cannot be installed is said and left out:
# the report then says so too.
set -eu

python=${PYTHON:-python3}
cd "$(dirname "$0")/../.."
peers=benchmarks/peers/requirements.txt
bin=.venv-peers/bin

sources=$(cat pyproject.toml constraints.txt "$peers" benchmarks/peers/environment.sh | cksum | tr ' ' '-')
if [ -e ".venv-peers/peers-$sources" ]; then
    exit 0
fi
[ -x "$bin/python" ] || "$python" -m venv .venv-peers
echo "installing the server and its peers into .venv-peers (some minutes the first time)"
install() {
    "$bin/python" -m pip install -qq --disable-pip-version-check --constraint constraints.txt "$@"
}
install hatchling editables setuptools
install --no-build-isolation --editable '.[server]'
sed -n 's/^\([a-zA-Z0-9_.-]*==[^ #]*\).*/\1/p' "$peers" | while read -r peer; do
    install "$peer" || echo "$peer cannot be installed here and is left out" >&2
done
rm -f .venv-peers/peers-*
: >".venv-peers/peers-$sources"
