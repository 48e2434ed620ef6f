#!/bin/bash
# build/lodge-oci against crun: the same bundles, the same state inside and outside. Needs root, since
# crun does here what only root may.
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
[ "$(id -u)" = 0 ] || { echo "not root: not tried"; echo "0 passed, 0 failed"; exit 0; }
exec python3 -B test/zone/oci.py "$PWD/$BUILD/lodge-oci"
