#!/bin/bash
# kselftest.sh [NAME...]: the kernel's own self-tests and stress-ng in the built-in guest, under Lodge
# and under QEMU; see kselftest.py. GUEST as for run.sh.
cd "$(dirname "$0")" || exit 1
. ./built-in
export KSELFTEST=${KSELFTEST:-$LODGE_CACHE/made/kselftest-riscv64}
kselftest/make "$KSELFTEST" || cannot "the self-tests could not be made"
exec python3 -B kselftest.py "$@"
