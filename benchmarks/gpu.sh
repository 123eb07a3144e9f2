#!/usr/bin/env bash
# Everything that has to be seen on a GPU (see gpu.py), from the root of the project's tree:
#
#   BUNDLE=bundle STEPS="correct speed" OUT=outputs/gpu bash benchmarks/gpu.sh [OPTION …]
#
# BUNDLE is a folder that tools/make_bundle.py has made; without it, the environment must have the project's packages,
# and steps that need data fail. STEPS are all by default, OUT is where results go. Options are those of gpu.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
run=() python=${PYTHON:-python}
[ -z "${BUNDLE:-}" ] || run=(bash "$BUNDLE/run.sh") python=python # run.sh knows which
read -r -a steps <<<"${STEPS:-}"
[ ${#steps[@]} -eq 0 ] || set -- --steps "${steps[@]}" "$@"
exec "${run[@]}" "$python" benchmarks/gpu.py --run "${run[*]}" --out "${OUT:-outputs/gpu}" "$@"
