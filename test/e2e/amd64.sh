#!/bin/bash
# amd64.sh [PART...]: the built-in guest of x86-64 end to end; see amd64.py. GUEST as for run.sh;
# ENGINE: by which engine (auto).
cd "$(dirname "$0")" || exit 1
lodge=${LODGE:-$PWD/../../${BUILD:-build}/lodge}
if "$lodge" run --arch amd64 --engine interp --kernel /dev/null 2>&1 < /dev/null | grep -q 'there are'; then
	echo "SKIPPED: there is no engine in software for x86-64 yet"
	echo "0 passed, 0 failed"
	exit
fi
arch=amd64
. ./built-in
exec python3 -B amd64.py "$@"
