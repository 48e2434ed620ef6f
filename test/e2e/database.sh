#!/bin/bash
# database.sh: a database under load in the debian image loses nothing that it committed, whatever
# becomes of its monitor; see database.py. LODGE_HOME: a store with the image (ARCH=amd64); minutes.
cd "$(dirname "$0")" || exit 1
export ARCH=${ARCH:-amd64} LODGE=${LODGE:-$PWD/../../${BUILD:-build}/lodge}
export LODGE_CACHE=${LODGE_CACHE:-$PWD/../../build/cache}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cannot() {
	echo "$1"
	echo "0 passed, 1 failed"
	exit 1
}
cc=x86_64-linux-gnu-gcc
[ "$(uname -m)" != x86_64 ] || cc=cc
"$cc" -O1 -static -o "$work/database" database.c -lsqlite3 -lm -lpthread -ldl || cannot "no SQLite to link with"
export DATABASE=$work/database
if [ -z "${LODGE_HOME:-}" ]; then
	export LODGE_HOME=$work/home
	"$LODGE" image build --arch "$ARCH" debian || cannot "the image could not be made"
fi
python3 -B database.py "$@"
