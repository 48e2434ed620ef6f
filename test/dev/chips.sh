#!/bin/bash
# The chips of a PC that need no time, against qemu's: see chips.py.
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
${MAKE:-make} -s "$BUILD/chips" > /dev/null
exec python3 test/dev/chips.py "$BUILD/chips" qemu-system-x86_64 1 2 3
