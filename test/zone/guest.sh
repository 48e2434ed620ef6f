#!/bin/bash
# Zones as guests: what a person with docker's habits sees. LODGE is the program; root runs all of it,
# and the part of an ordinary user as one that is made for it.
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
LODGE=${LODGE:-$PWD/$BUILD/lodge}
export LODGE
[ "$(id -u)" = 0 ] || { echo "not root: not tried"; echo "0 passed, 0 failed"; exit 0; }
exec python3 -B test/zone/guest.py "$@"
