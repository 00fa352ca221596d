#!/usr/bin/env bash
# Installs what is missing, then prepares and trains.
#
#   ./launch.sh                    the synthetic demo corpus, from nothing to a report
#   ./launch.sh test               the tests
#   ./launch.sh prepare ARGS       python -m data_prep.build ARGS
#   ./launch.sh train ARGS         python -m glam_jax.main ARGS
#   ./launch.sh reproduce ARGS     python -m glam_jax.reproduce ARGS
#   ./launch.sh tpu NAME ZONE -- ARGS
#                                  trains on every worker of a Cloud TPU VM, by gcloud
#
# PYTHON chooses the interpreter of .venv, JAX_EXTRA (cuda, tpu or cpu) overrides what
# was found, DRY_RUN=1 prints the commands of `tpu` instead of running them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() { sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

accelerator() {
  if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
    echo cuda
  elif compgen -G '/dev/accel*' >/dev/null || compgen -G '/dev/vfio/[0-9]*' >/dev/null; then
    echo tpu
  else
    echo cpu
  fi
}

# install EXTRA...: into .venv, unless these extras of this pyproject.toml are there.
install() {
  local jax_extra="${JAX_EXTRA:-$(accelerator)}" extras
  [[ $jax_extra == cpu ]] || set -- "$jax_extra" "$@"
  extras=$(IFS=,; echo "$*")
  [[ -x .venv/bin/python ]] || "${PYTHON:-python3}" -m venv .venv
  local stamp wanted
  stamp=".venv/installed-${extras:-none}"
  wanted=$(cksum <pyproject.toml)
  if [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]]; then
    echo "installing into .venv (${extras:-no} extras) ..."
    .venv/bin/python -m pip install --quiet --editable ".${extras:+[$extras]}"
    echo "$wanted" >"$stamp"
  fi
}

run() {
  if [[ ${DRY_RUN:-} == 1 ]]; then printf '%q ' "$@" && echo; else "$@"; fi
}

# Copies the committed tree to every worker of a TPU VM and trains there.
train_on_tpu() {
  [[ $# -ge 3 && $3 == -- ]] || { usage >&2; exit 2; }
  local tpu=$1 target=("--zone=$2" --worker=all) archive=glam_jax.tar.gz arguments
  shift 3
  arguments=$(printf ' %q' "$@")
  run git archive --format=tar.gz --output=$archive HEAD
  run gcloud compute tpus tpu-vm scp $archive "$tpu:" "${target[@]}"
  run gcloud compute tpus tpu-vm ssh "$tpu" "${target[@]}" --command="mkdir -p glam_jax \
&& tar -xzf $archive -C glam_jax && cd glam_jax && ./launch.sh train$arguments"
}

case ${1:-demo} in
  demo)
    install
    .venv/bin/python -m data_prep.build --corpus=demo
    .venv/bin/python -m glam_jax.main --config=configs/demo.py
    ;;
  test) install test; shift; .venv/bin/python -m pytest -n auto --dist worksteal "$@" ;;
  prepare) install; shift; exec .venv/bin/python -m data_prep.build "$@" ;;
  train) install; shift; exec .venv/bin/python -m glam_jax.main "$@" ;;
  reproduce) install; shift; exec .venv/bin/python -m glam_jax.reproduce "$@" ;;
  tpu) shift; train_on_tpu "$@" ;;
  *) usage; [[ $1 == help || $1 == --help || $1 == -h ]] || exit 2 ;;
esac
