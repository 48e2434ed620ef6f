#!/bin/bash
# run.sh [PART...]: the built-in guest end to end; see run.py. GUEST names a folder with a
# kernel and an initrd, otherwise the recipe makes them (once).
cd "$(dirname "$0")" || exit 1
export LODGE_CACHE=${LODGE_CACHE:-$PWD/../../build/cache}
if [ -z "${GUEST:-}" ]; then
	GUEST=$LODGE_CACHE/made/linux-riscv64
	../../guests/build linux riscv64 "$GUEST" || {
		echo "the guest could not be made"
		echo "0 passed, 1 failed"
		exit 1
	}
fi
export GUEST
exec python3 -B run.py "$@"
