#!/bin/bash
# shared.sh [PART...]: folders that guests of both CPUs share; see shared.py.
cd "$(dirname "$0")" || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export PROGRAMS=$work
for p in ops fsx; do
	gcc -O1 -static -w -D_GNU_SOURCE -o "$work/$p-amd64" shared/$p.c || exit 1
	riscv64-linux-gnu-gcc -O1 -static -w -D_GNU_SOURCE -o "$work/$p-riscv64" shared/$p.c || exit 1
done
[ "$(uname -m)" = riscv64 ] && here=riscv64 || here=amd64
export HERE=$here
for arch in riscv64 amd64; do
	unset GUEST
	. ./built-in
	export "GUEST_$arch=$GUEST"
done
python3 -B shared.py "$@"
