#!/bin/bash
# Zones as guests: what a person with docker's habits sees. LODGE is the program; root runs all of it,
# and the part of an ordinary user as one that is made for it.
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
LODGE=${LODGE:-$PWD/$BUILD/lodge}
export LODGE
[ "$(id -u)" = 0 ] || { echo "not root: not tried"; echo "0 passed, 0 failed"; exit 0; }
status=0
if [ $# = 0 ]; then set -- guest.py files.py commit.py limits.py net.py names.py keeper.py escape.py; fi
# Words: scripts, each with what its own words are.
for t; do
	# shellcheck disable=SC2086
	python3 -B test/zone/$t > "${TMPDIR:-/tmp}/lodge-zone-$$" 2>&1 || status=1
	cat "${TMPDIR:-/tmp}/lodge-zone-$$"
	n=$(tail -n 1 "${TMPDIR:-/tmp}/lodge-zone-$$")
	case $n in
	*' passed, '*' failed') passed=$((${passed:-0} + ${n%% *})) n=${n#*, } failed=$((${failed:-0} + ${n%% *})) ;;
	*) failed=$((${failed:-0} + 1)) ;;
	esac
done
rm -f "${TMPDIR:-/tmp}/lodge-zone-$$"
echo "${passed:-0} passed, ${failed:-0} failed"
exit $status
