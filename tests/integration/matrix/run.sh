#!/bin/sh
# Runs the exporters' tests in each world, in virtual environments under FOLDER:
# sh run.sh FOLDER [WORLD...], and what else pytest should be told in PYTEST_FLAGS.
#
#   transformers4   what constraints.txt has: transformers 4 with optimum
#   transformers5   transformers 5 without optimum; transformers5.txt has what differs
#
# An environment that is there stays as long as its versions are those of these files.
set -eu

folder=${1:?usage: run.sh FOLDER [WORLD...]}
shift
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
python=${PYTHON:-python3}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

fail() {
  echo "run.sh: $1" >&2
  exit 1
}

install() {  # WORLD SOURCE: the world's environment, with the package from SOURCE
  env=$folder/$1
  extra=$here/$1.txt
  [ -e "$extra" ] || extra=/dev/null
  # A package of the world's own file replaces the same one of constraints.txt.
  awk -F'==' 'FILENAME != "'"$root/constraints.txt"'" { own[tolower($1)] = 1; print; next }
    !(tolower($1) in own)' "$extra" "$root/constraints.txt" > "$folder/$1.txt"
  ! cmp -s "$folder/$1.txt" "$env/installed.txt" || return 0
  echo "Installing into $env (some minutes)"
  rm -rf "$env"
  "$python" -m venv "$env" || fail "$python makes no virtual environment"
  # shellcheck disable=SC2086  # a list of flags
  "$env/bin/python" -m pip install -qq --disable-pip-version-check ${PIP_FLAGS:-} \
    -c "$folder/$1.txt" -e "$2" pytest hypothesis || fail "pip cannot install $1"
  cp "$folder/$1.txt" "$env/installed.txt"
}

[ $# -gt 0 ] || set -- transformers4 transformers5
failed=
for world; do
  case $world in
    transformers4) install "$world" "${root}[optimum]" ;;
    transformers5) install "$world" "${root}[export]" ;;
    *) fail "there is no world $world; choose from transformers4, transformers5" ;;
  esac
  echo "== $world"
  # shellcheck disable=SC2086  # a list of flags
  (cd "$root" && "$folder/$world/bin/python" -m pytest tests/exporters tests/toolkit/graph -rsx ${PYTEST_FLAGS:-}) \
    || failed="$failed $world"
done
[ -z "$failed" ] || fail "tests failed in$failed"
