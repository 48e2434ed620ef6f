#!/bin/bash
# gdb.sh [PART...]: a debugger at the built-in guests of both CPUs; see gdb.py.
cd "$(dirname "$0")" || exit 1
arch=amd64
. ./built-in
AMD64=$GUEST GUEST=
arch=riscv64
. ./built-in
export AMD64
exec python3 -B gdb.py "$@"
