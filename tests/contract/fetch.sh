#!/bin/sh
# Makes schemathesis runnable as .tools/venv-contract/bin/schemathesis, as tests/contract/requirements.txt pins it
# by hash; instant when it is there. Wants Python 3.11 or later with venv.
set -eu
cd "$(dirname "$0")/../.."

venv=.tools/venv-contract

if ! cmp -s tests/contract/requirements.txt "$venv/requirements.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
        --requirement tests/contract/requirements.txt
    cp tests/contract/requirements.txt "$venv/"
fi
