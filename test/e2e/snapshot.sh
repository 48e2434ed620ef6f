#!/bin/bash
# snapshot.sh [PART...]: running guests saved and gone on with; see snapshot.py. Guests for both CPUs
# are made by the recipe, once.
cd "$(dirname "$0")" || exit 1
for arch in riscv64 amd64; do
	unset GUEST
	. ./built-in
	export "GUEST_$arch=$GUEST"
done
exec python3 -B snapshot.py "$@"
