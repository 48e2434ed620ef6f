#!/bin/bash
# network.sh [PART...]: guests of both CPUs on software networks; see network.py.
cd "$(dirname "$0")" || exit 1
arch=amd64
. ./built-in
AMD64=$GUEST GUEST=
arch=riscv64
. ./built-in
export AMD64
exec python3 -B network.py "$@"
