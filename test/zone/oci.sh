#!/bin/bash
# oci.sh [PART]: build/lodge-oci against crun: the same bundles, the same state inside and outside. Needs
# root, since crun does here what only root may.
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build} passed=0 failed=0
[ "$(id -u)" = 0 ] || { echo "not root: not tried"; echo "0 passed, 0 failed"; exit 0; }
for part in ${1:-oci habits}; do
	while read -r line; do
		if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
			passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2])) said=1
		else
			echo "$line"
		fi
	done < <(python3 -B "test/zone/$part.py" "$PWD/$BUILD/lodge-oci" 2>&1)
	[ -n "${said:-}" ] || { echo "$part ended early"; failed=$((failed + 1)); }
	said=
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
