#!/usr/bin/env bash
# Installs what is missing, then prepares and trains.
#
#   ./launch.sh                    the synthetic demo corpus, from nothing to a
#                                  report and a prediction
#   ./launch.sh predict FILE...    the emotion of recordings, by a model of EmoDB
#   ./launch.sh test               the tests
#   ./launch.sh prepare ARGS       python -m data_prep.build ARGS
#   ./launch.sh train ARGS         python -m glam_jax.main ARGS
#   ./launch.sh COMMAND ARGS       python -m glam_jax.COMMAND ARGS (reproduce, ...)
#   ./launch.sh install EXTRA...   installs and no more
#   ./launch.sh tpu NAME ZONE -- ARGS
#                                  trains on every worker of a Cloud TPU VM, by gcloud
#
# PYTHON chooses the interpreter, VENV another folder than .venv, CONSTRAINTS another
# file of releases than constraints.txt (/dev/null: the newest ones), JAX_EXTRA (cuda,
# tpu or cpu) overrides what was found, DRY_RUN=1 prints commands instead of running them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
venv=${VENV:-.venv}

usage() { sed -n '2,18s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }

run() {
  if [[ ${DRY_RUN:-} == 1 ]]; then printf '%q ' "$@" && echo; else "$@"; fi
}

accelerator() {
  if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
    echo cuda
  elif compgen -G '/dev/accel*' >/dev/null || compgen -G '/dev/vfio/[0-9]*' >/dev/null; then
    echo tpu
  else
    echo cpu
  fi
}

# install EXTRA...: by uv where there is one, unless just this is installed already.
install() {
  local jax_extra="${JAX_EXTRA:-$(accelerator)}" constraints="${CONSTRAINTS:-constraints.txt}"
  [[ $jax_extra == cpu ]] || set -- "$jax_extra" "$@"
  local extras stamp wanted installer
  extras=$(IFS=,; echo "$*")
  stamp="$venv/installed-${extras:-none}"
  wanted=$(cat pyproject.toml "$constraints" | cksum)
  [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]] || return 0
  [[ -x $venv/bin/python ]] || run "${PYTHON:-python3}" -m venv "$venv"
  installer=("$venv/bin/python" -m pip install)
  if uv --version >/dev/null 2>&1; then
    installer=(uv pip install --python "$venv/bin/python")
  fi
  echo "installing into $venv (${extras:-no} extras) ..."
  run "${installer[@]}" --quiet -c "$constraints" --editable ".${extras:+[$extras]}"
  [[ ${DRY_RUN:-} == 1 ]] || echo "$wanted" >"$stamp"
}

# python MODULE ARGS: installs, then runs a module as a command.
python() {
  install  # no condition: within one, bash goes on after a command that failed
  run exec "$venv/bin/python" -m "$@"
}

# Whether glam_jax has a command of this name.
is_command() {
  [[ -f glam_jax/$1/__main__.py ]] || grep -qs '^if __name__ == ' "glam_jax/$1.py"
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

# Lets the demo's model hear a recording, and says how to go on.
predict_demo() {
  local model=runs/demo_impro_script_glam_paper turn=Ses01F_impro01
  printf '\nThe prediction for a recording of the demo, in which nobody speaks:\n'
  run "$venv/bin/python" -m glam_jax.predict $model \
    data/demo_corpus/Session1/sentences/wav/$turn/${turn}_F000.wav
  cat <<END

To go on:
  ./launch.sh predict RECORDING            your recording, by a model of real speech (EmoDB)
  ./launch.sh predict $model RECORDING     by the one just trained
  ./launch.sh prepare --corpus=table --name=mine --labels=LABELS.csv
  ./launch.sh train --config=configs/table.py:mine     a model of your recordings; README.md says more
END
}

case ${1:-demo} in
  demo)
    install
    run "$venv/bin/python" -m data_prep.build --corpus=demo
    run "$venv/bin/python" -m glam_jax.main --config=configs/demo.py
    predict_demo
    ;;
  install) shift; install "$@" ;;
  test) install test; shift; run exec "$venv/bin/python" -m pytest -n auto --dist worksteal "$@" ;;
  prepare) shift; python data_prep.build "$@" ;;
  train) shift; python glam_jax.main "$@" ;;
  tpu) shift; train_on_tpu "$@" ;;
  help | --help | -h) usage ;;
  *) is_command "$1" || { usage; exit 2; }; command=$1; shift; python "glam_jax.$command" "$@" ;;
esac
