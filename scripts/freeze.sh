#!/usr/bin/env bash
# Write constraints.txt again from the newest versions: make a fresh environment, install everything, list it.
# Run the tests with the result before committing it.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"${PYTHON:-python3}" -m venv "$fresh"
"$fresh/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[lab,spark,chdb,test]"
{
  echo "# The exact versions that the tests ran with. Written by scripts/freeze.sh."
  "$fresh/bin/python" -m pip freeze --exclude-editable
} > constraints.txt
