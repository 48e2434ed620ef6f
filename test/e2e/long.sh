#!/bin/bash
# long.sh [PART...]: the built-in guest for long, see long.py. GUEST as for run.sh; SOAK_SECONDS: how
# long it is worked hard (600).
cd "$(dirname "$0")" || exit 1
export LIMIT=${LIMIT:-1200}
. ./built-in
exec python3 -B long.py "$@"
