#!/bin/bash
# Debian's kernel goes from KVM to KVM, to the translator and back to KVM, by snapshots, with the jail
# on: all of it in QEMU, which emulates AMD's SVM, since /dev/kvm here may be one that no kernel runs
# on. Some minutes; nothing is measured. The host there is the built-in guest, too.
cd "$(dirname "$0")/../e2e" || exit 1
arch=amd64
. ./built-in
cd ../.. || exit 1
. test/kvm/lib.sh
BUILD=$PWD/${BUILD:-build}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
command -v qemu-system-x86_64 > /dev/null || cannot "no qemu-system-x86_64 here: tools/deps --test"
[ -n "$(package)" ] || cannot "no package of the amd64 kernel, for its modules"
mkdir -p "$work/deb" "$work/root/x"
dpkg-deb -x "$(package)" "$work/deb"
modules "$work/deb" "$work/root/x"
cp "$BUILD/lodge" "$GUEST/kernel" "$GUEST/initrd" "$work/root/x"
libraries "$BUILD/lodge" "$work/root"
cp test/kvm/engines-inside.sh "$work/root/x/inside"
chmod +x "$work/root/x/inside"
cp "$GUEST/initrd" "$work/initrd"
truncate -s %512 "$work/initrd"
(cd "$work/root" && find . | cpio -o -H newc 2> /dev/null) >> "$work/initrd"
timeout "${LIMIT:-1500}" qemu-system-x86_64 -accel tcg -cpu max -m 1500M -smp 1 -nodefaults -display none \
	-no-reboot -serial stdio -kernel "$GUEST/kernel" -initrd "$work/initrd" \
	-append "console=ttyS0 quiet mitigations=off lodge.run=/x/inside" < /dev/null > "$work/out" 2>&1
tr -d '\r' < "$work/out" > "$work/lines"
cat "$work/lines"
p=$(grep -ac '^ok: ' "$work/lines") f=$(grep -ac '^FAILED: ' "$work/lines")
grep -aq '^the end' "$work/lines" || f=$((f + 1))
echo "$p passed, $f failed"
[ "$f" = 0 ]
