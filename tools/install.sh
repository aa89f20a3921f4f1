#!/bin/sh
# install.sh ENVIRONMENT CONSTRAINTS EXTRA: this package and what EXTRA names, into a virtual environment that is made where there is none.
# uv does it, since it finds the build of torch for this machine; pip brings uv where it is missing. From the outside:
#   PYTHON         the Python of a new environment; by default the constraints' 3.11 with uv, python3 without
#   TORCH_BACKEND  auto (by default: for this machine's GPU, or else for the CPU alone), cpu, cu130 ...
set -eu
venv=$1 constraints=$2 extra=$3
pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }

echo "Installing into $venv: a minute or two"
if [ ! -x "$venv/bin/python" ]; then
	if ! command -v uv > /dev/null || ! uv venv --quiet --seed --python "${PYTHON:-3.11}" "$venv"; then
		"${PYTHON:-python3}" -m venv "$venv"
	fi
fi
PATH=$PATH:$(cd "$venv/bin" && pwd)
command -v uv > /dev/null || pip install uv || true
if uv pip install --quiet --python "$venv/bin/python" --torch-backend "${TORCH_BACKEND:-auto}" \
	--constraint "$constraints" --editable ".[$extra]"; then
	exit
fi

# uv does not know the mirror that pip may be set up for. From PyPI pip would take gigabytes of CUDA along with torch.
case $("$venv/bin/python" -m pip config list) in
*index* | *find-links*) ;;
*)
	echo "uv could not install it, see above. Without uv: the README, 'Installing'" >&2
	exit 1
	;;
esac
echo "uv could not install it; pip is set up for an index of its own: now with pip"
pip install --constraint "$constraints" --editable ".[$extra]"
