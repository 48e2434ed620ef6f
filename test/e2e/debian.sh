#!/bin/bash
# debian.sh [PART...]: makes the debian image and runs it; minutes. See debian.py. LODGE_HOME names a
# store that has the image already; ARCH: the guest's CPU (riscv64); ENGINE: by which engine (auto).
cd "$(dirname "$0")" || exit 1
export LODGE=${LODGE:-$PWD/../../${BUILD:-build}/lodge}
export LODGE_CACHE=${LODGE_CACHE:-$PWD/../../build/cache}
if [ -z "${LODGE_HOME:-}" ]; then
	LODGE_HOME=$(mktemp -d)
	export LODGE_HOME
	trap 'rm -rf "$LODGE_HOME"' EXIT
	"$LODGE" image build --arch "${ARCH:-riscv64}" debian || {
		echo "the image could not be made"
		echo "0 passed, 1 failed"
		exit 1
	}
fi
python3 -B debian.py "$@"
