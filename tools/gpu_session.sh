#!/usr/bin/env bash
# All that needs an NVIDIA GPU, on a bare machine with Python 3.11+, in under ten minutes: tools/gpu_session.sh [OUT]
#
# Makes .venv-gpu (onnxruntime-gpu and onnxruntime exclude one another, so it is not .venv), runs the tests marked `gpu`,
# then `weir bench gpu`. Its table is for docs/benchmarks.md. What is written: OUT (default .weir/gpu).
# With packages that were fetched before: WEIR_WHEELS=FOLDER (pip's --find-links, no index is asked).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-.weir/gpu}
python=${PYTHON:-python3}
mkdir -p "$out"

command -v nvidia-smi >/dev/null || { echo "no NVIDIA GPU here: nvidia-smi is missing" >&2; exit 1; }
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/machine.txt"

if [ ! -f .venv-gpu/.installed ]; then
  "$python" -m venv .venv-gpu
  where=(${WEIR_WHEELS:+--no-index --find-links "$WEIR_WHEELS"})
  .venv-gpu/bin/pip install --quiet --disable-pip-version-check "${where[@]}" 'torch>=2.13' --editable '.[gpu-tests]'
  touch .venv-gpu/.installed
fi
weir() { timeout "$1" .venv-gpu/bin/weir "${@:2}"; }

status=0
timeout 240 .venv-gpu/bin/python -m pytest tests/gpu -q 2>&1 | tee "$out/tests.txt" || status=$?
weir 240 bench gpu qwen2.5-0.5b --rounds 2 --home "$out/home" --out "$out" | tee "$out/table.md" || status=$?
exit "$status"
