#!/bin/bash
# amd64_os.sh [PART...]: what other people's disks and kernels for a PC are: Debian's generic kernel,
# memtest86+, Debian's installer, firmware that starts a disk with a boot loader; minutes. See
# amd64_os.py. LODGE_HOME names a store that has the debian image already; ENGINE: by which engine.
cd "$(dirname "$0")" || exit 1
export LODGE=${LODGE:-$PWD/../../${BUILD:-build}/lodge} ARCH=amd64
arch=amd64
GUEST=
LODGE_KERNEL=linux-image-amd64
export LODGE_KERNEL
. ./built-in
unset LODGE_KERNEL
unpacked=$LODGE_CACHE/made/packages-amd64
export UNPACKED=$unpacked
for p in memtest86+ debian-installer-12-netboot-amd64; do
	[ -d "$unpacked/$p" ] && continue
	rm -rf "$unpacked/$p.part"
	../../guests/fetch "$p" amd64 "$unpacked/$p.part" && mv "$unpacked/$p.part" "$unpacked/$p" ||
		cannot "$p could not be fetched"
done
if [ -z "${LODGE_HOME:-}" ]; then
	LODGE_HOME=$(mktemp -d)
	export LODGE_HOME
	trap 'rm -rf "$LODGE_HOME"' EXIT
	"$LODGE" image build --arch amd64 debian || cannot "the image could not be made"
fi
python3 -B amd64_os.py "$@"
