#!/bin/bash
# replay.sh [PART...]: guests that are recorded and run again; see replay.py. LONG=1: by all engines,
# and under gdb. Guests for both CPUs are made by the recipe, once.
cd "$(dirname "$0")" || exit 1
for arch in riscv64 amd64; do
	unset GUEST
	. ./built-in
	export "GUEST_$arch=$GUEST"
done
exec python3 -B replay.py "$@"
