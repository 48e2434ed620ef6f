#!/bin/bash
# limits.sh [PART...]: what guests of both CPUs may use, and give back; see limits.py.
cd "$(dirname "$0")" || exit 1
for arch in riscv64 amd64; do
	unset GUEST
	. ./built-in
	export "GUEST_$arch=$GUEST"
done
exec python3 -B limits.py "$@"
