#!/bin/bash
# run.sh [PART...]: the built-in guest end to end; see run.py. GUEST names a folder with a
# kernel and an initrd, otherwise the recipe makes them (once).
cd "$(dirname "$0")" || exit 1
. ./built-in
exec python3 -B run.py "$@"
