#!/usr/bin/env bash
# Run the tests of models, training, export and the command line under transformers 5.
# Optimum refuses it, so onnxruntime quantises (`backend: auto`). Everything but what requirements/transformers5.txt
# pins comes from .venv, which must stand (`make setup`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

base=${VENV:-.venv}
venv=$base-transformers5
if ! cmp --silent requirements/transformers5.txt "$venv/.pins"; then
    "$base/bin/python" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input -qq --no-deps \
        --require-hashes -r requirements/transformers5.txt
    packages='import sysconfig; print(sysconfig.get_path("purelib"))'
    below=$(realpath "$("$base/bin/python" -c "$packages")")
    printf 'import site; site.addsitedir(%s)\n' "'$below'" >"$("$venv/bin/python" -c "$packages")/zz_below.pth"
    cp requirements/transformers5.txt "$venv/.pins"
fi
"$venv/bin/python" -c 'import transformers; assert transformers.__version__.startswith("5."), transformers.__version__'
# Left out is what asks for Optimum by name.
exec "$venv/bin/python" -m pytest -q tests/hrkd/models tests/hrkd/training tests/cli/test_run.py \
    tests/cli/test_export_auto.py tests/export/test_to_onnx.py tests/export/test_first_token.py \
    tests/export/test_parity_checks.py tests/export/test_vocabulary.py tests/export/test_quantizers.py \
    -k "not libraries_calibrate_alike" "$@"
