#!/bin/bash
# kselftest.sh [NAME...]: the kernel's own self-tests and stress-ng in the built-in guest, under Lodge
# and under QEMU; see kselftest.py. GUEST as for run.sh.
cd "$(dirname "$0")" || exit 1
export LODGE_CACHE=${LODGE_CACHE:-$PWD/../../build/cache}
export KSELFTEST=${KSELFTEST:-$LODGE_CACHE/made/kselftest-riscv64}
cannot() {
	echo "$1"
	echo "0 passed, 1 failed"
	exit 1
}
if [ -z "${GUEST:-}" ]; then
	GUEST=$LODGE_CACHE/made/linux-riscv64
	../../guests/build linux riscv64 "$GUEST" || cannot "the guest could not be made"
fi
export GUEST
kselftest/make "$KSELFTEST" || cannot "the self-tests could not be made"
exec python3 -B kselftest.py "$@"
