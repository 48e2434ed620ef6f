#!/bin/bash
# long.sh [PART...]: the built-in guest for long, see long.py. GUEST as for run.sh; SOAK_SECONDS: how
# long it is worked hard (600).
cd "$(dirname "$0")" || exit 1
export LODGE_CACHE=${LODGE_CACHE:-$PWD/../../build/cache} LIMIT=${LIMIT:-1200}
if [ -z "${GUEST:-}" ]; then
	GUEST=$LODGE_CACHE/made/linux-riscv64
	../../guests/build linux riscv64 "$GUEST" || {
		echo "the guest could not be made"
		echo "0 passed, 1 failed"
		exit 1
	}
fi
export GUEST
exec python3 -B long.py "$@"
