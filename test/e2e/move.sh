#!/bin/bash
# move.sh [PART...]: guests cloned, and moved while they run; see move.py. Guests for both CPUs are made
# by the recipe, once.
cd "$(dirname "$0")" || exit 1
for arch in riscv64 amd64; do
	unset GUEST
	. ./built-in
	export "GUEST_$arch=$GUEST"
done
exec python3 -B move.py "$@"
