#!/bin/bash
# amd64_os.sh [PART...]: what other people's disks and kernels for a PC are: Debian's generic kernel,
# memtest86+, Debian's installer, as files and on a disc, firmware that starts a disk with a boot loader;
# minutes. See amd64_os.py. LODGE_HOME names a store that has the debian image already; ENGINE: by which engine.
cd "$(dirname "$0")" || exit 1
export LODGE=${LODGE:-$PWD/../../${BUILD:-build}/lodge} ARCH=amd64
# shellcheck disable=SC2034 # built-in's
arch=amd64 GUEST=
export LODGE_KERNEL=linux-image-amd64
# shellcheck source=test/e2e/built-in
. ./built-in
unset LODGE_KERNEL
export UNPACKED=$LODGE_CACHE/made/packages-amd64
unpack() { # PACKAGE: its files, once
	[ ! -d "$UNPACKED/$1" ] || return 0
	rm -rf "$UNPACKED/$1.part"
	../../guests/fetch "$1" amd64 "$UNPACKED/$1.part" && mv "$UNPACKED/$1.part" "$UNPACKED/$1"
}
for p in memtest86+ debian-installer-12-netboot-amd64; do
	unpack "$p" || cannot "$p could not be fetched"
done
if [ -z "${LODGE_HOME:-}" ]; then
	LODGE_HOME=$(mktemp -d)
	export LODGE_HOME
	trap 'rm -rf "$LODGE_HOME"' EXIT
	"$LODGE" image build --arch amd64 debian || cannot "the image could not be made"
fi
python3 -B amd64_os.py "$@"
