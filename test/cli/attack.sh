#!/bin/bash
# The command line under attack: what others named or wrote does nothing to the terminal of who reads
# it. doc/security.md says which attack is tested where. LODGE is the program.
set -u
LODGE=${LODGE:-$PWD/build/lodge}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'kill -9 $(jobs -p) 2> /dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1
export LODGE_HOME=$work/home LODGE_CACHE=$work/cache
errs=err
. "$here/common"

# ---- words of others -------------------------------------------------------------------------
# A title, a clear screen, the clipboard; CSI as a C1 control, in UTF-8 and without; right to left.
evil=$'x\e]0;y\a\e[2J\e]52;c;eA==\a\xc2\x9b2J\x9b2J\xe2\x80\xae'
tame() { # WHAT COMMAND...: nothing but lines of letters comes out of it
	local what=$1
	shift
	timeout 60 "$@" > said 2>&1 < /dev/null
	is "$what: says something" [ -s said ]
	is "$what: moves no cursor" sh -c '! LC_ALL=C grep -qP "[\x00-\x08\x0b-\x1f\x7f]|(?<![\xc2-\xf4\x80-\xbf])[\x80-\x9f]|\xc2[\x80-\x9f]|\xe2\x80[\xaa-\xae]" said'
}
tame 'a verb' "$LODGE" "$evil"
tame 'an option' "$LODGE" run "--$evil"
tame 'a guest' "$LODGE" start "$evil"
tame 'a file' "$LODGE" image info "$evil"
tame 'a template' "$LODGE" ps --format "{{$evil"
if command -v qemu-img > /dev/null; then
	qemu-img create -q -f qcow2 -u -F raw -b "$evil" named.qcow2 1M
	qemu-img create -q -f qcow2 tagged.qcow2 1M
	qemu-img snapshot -c "$evil" tagged.qcow2
	tame 'a backing file' "$LODGE" image info named.qcow2
	tame 'a backing file in JSON' "$LODGE" image info --format json named.qcow2
	tame 'a snapshot' "$LODGE" image info tagged.qcow2
	tame 'a snapshot in JSON' "$LODGE" image info --format json tagged.qcow2
	tame 'a backing file not opened' "$LODGE" image convert -O raw named.qcow2 out.raw
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ]
