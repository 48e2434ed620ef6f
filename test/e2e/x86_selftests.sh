#!/bin/bash
# x86_selftests.sh: Linux's selftests/x86 on this computer and, under the translator, in the built-in
# guest: all that pass here must pass there, with a window for all user code as well, and all of it run directly.
# HOW: such a setting, alone.
cd "$(dirname "$0")" || exit 1
if [ "$(uname -m)" != x86_64 ]; then
	echo "SKIPPED: this computer is no x86-64"
	echo "0 passed, 0 failed"
	exit
fi
lodge=${LODGE:-$PWD/../../${BUILD:-build}/lodge}
arch=amd64
. ./built-in
tests=${X86_SELFTESTS:-$LODGE_CACHE/made/x86_selftests}
x86_selftests/make "$tests" || cannot "the self-tests could not be made"
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
{
	cat "$GUEST/initrd"
	# a cpio archive begins on a multiple of four
	head -c $(((4 - $(stat -L -c %s "$GUEST/initrd") % 4) % 4)) /dev/zero
	cat "$tests/archive"
} >"$dir/initrd"
results() { tr -d '\r' | sed -n 's/^SELFTEST \([^ ]*\) \([0-9]*\)$/\1 \2/p' | sort; }

sed 's/^/not built: /' "$tests/notes"
sh "$tests/selftests/session" 2>&1 | results >"$dir/native"
passed=0 failed=0
for how in ${HOW:-LODGE_WINDOW=chosen LODGE_WINDOW=early LODGE_DIRECT=early}; do
	env "$how" timeout 1200 "$lodge" run --arch amd64 --engine jit -m 512M --net none \
		--kernel "$GUEST/kernel" --initrd "$dir/initrd" \
		--append 'console=ttyS0 quiet "lodge.run=sh /selftests/session"' </dev/null >"$dir/said" 2>&1
	results <"$dir/said" >"$dir/guest"
	while read -r name code; do
		there=$(sed -n "s/^$name //p" "$dir/guest")
		if [ "$code" != 0 ]; then
			echo "$name fails on this computer: $code; in the guest, $how: ${there:-nothing}"
		elif [ "$there" = 0 ]; then
			passed=$((passed + 1))
		else
			failed=$((failed + 1))
			echo "FAILED $name, $how: ${there:-nothing}"
			grep -a "^$name says: " "$dir/said"
		fi
	done <"$dir/native"
done
[ $((passed + failed)) -gt 0 ] || failed=1
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
