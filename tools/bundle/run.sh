#!/usr/bin/env bash
# Runs a command with this bundle, on a machine that has PyTorch but no network. From the root of the project's tree:
#
#   bash BUNDLE/run.sh mmf_run config=projects/muvla/pretrain_toyworld.yaml @pretrain training.max_updates=50
#   bash BUNDLE/run.sh python -m pytest tests/models
#
# @pretrain, @vqa2, @nlvr2, @visual_entailment, @refcoco_plus stand for the options that lead to the data in this bundle,
# @base for those of BERT-base's shape with random weights, @full for the whole generated world, which is remade first.
# The variable PYTHON names another interpreter than python3, BUNDLE_WORK another folder than one in TMPDIR (/tmp) for
# what is unpacked.
set -euo pipefail

stop() {
    echo "error: $1" >&2
    exit 2
}

bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$PWD
python=$(command -v "${PYTHON:-python3}") || stop "${PYTHON:-python3}: no such interpreter. Name one: PYTHON=…"
[ -d "$tree/mmf_muvla" ] || stop "$tree: is not the root of the project's tree. Change to the folder that mmf_muvla lies in"
[ $# -gt 0 ] || stop "no command. Write it behind run.sh: mmf_run config=…"

# What is unpacked serves all later commands with these wheels and this interpreter.
key=$({ cksum "$bundle/machine.json" "$bundle"/wheels/* && echo "$python"; } | cksum | cut -d " " -f 1)
work=${BUNDLE_WORK:-${TMPDIR:-/tmp}/mmf-muvla-$(id -u)}
(umask 077 && mkdir -p "$work")
[ -O "$work" ] || stop "$work: belongs to somebody else. Name another folder: BUNDLE_WORK=…"
site=$work/site-$key
full=$work/full-$key

check_machine() {
    "$python" - "$bundle/machine.json" <<'PY'
import json
import sys
from importlib import metadata

with open(sys.argv[1]) as file:
    machine = json.load(file)
found = ".".join(map(str, sys.version_info[:2]))
if found != machine["python"]:
    sys.exit(f"error: {sys.executable} is Python {found}, and this bundle is for {machine['python']}. Name one: PYTHON=…")
missing = []
for name in machine["packages"]:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        missing.append(name)
if missing:
    sys.exit(f"error: {sys.executable} has no {', '.join(missing)}. Make the bundle with also=[{','.join(missing)}]")
PY
}

install_wheels() {
    # Under a temporary name until all is there.
    rm -rf "$site.unfinished" &&
        "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-cache-dir \
            --target "$site.unfinished" "$bundle"/wheels/*.whl &&
        cp "$bundle/sitecustomize.py" "$site.unfinished/" &&
        mv "$site.unfinished" "$site"
}

(
    flock 9 # several commands may begin at the same time
    [ -d "$site" ] || { check_machine && install_wheels; } || exit 2
) 9>"$work/lock"

export PYTHONPATH="$tree:$site${PYTHONPATH:+:$PYTHONPATH}"
export PATH="$site/bin:$(dirname "$python"):$PATH"
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 TOKENIZERS_PARALLELISM="${TOKENIZERS_PARALLELISM:-false}"

command=()
for word in "$@"; do
    if [[ $word != @* ]]; then
        command+=("$word")
        continue
    fi
    options=$bundle/options/${word#@}
    [ -f "$options" ] || stop "$word: this bundle has only $(cd "$bundle/options" && printf '@%s ' *)"
    if [ "$word" = @full ]; then
        (flock 9 && "$python" tools/remake_corpus.py "source=$bundle/data/full" "out=$full" >&2) 9>"$work/lock"
    fi
    while IFS= read -r option; do
        option=${option//"{bundle}"/"$bundle"}
        command+=("${option//"{full}"/"$full"}")
    done <"$options"
done
[ "${command[0]}" != python ] || command[0]=$python
exec "${command[@]}"
