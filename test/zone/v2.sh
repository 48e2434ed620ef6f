#!/bin/bash
# v2.sh [PART...]: control groups of version 2 with all controllers, which hosts with version 1's do not
# have: in the Debian image, as a vm. PART: v2, oci, limits, shares. LODGE_HOME names a store that has the
# image already.
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
LODGE=${LODGE:-$PWD/$BUILD/lodge}
work=$(mktemp -d /tmp/lodge-v2-XXXXXX) passed=0 failed=0
[ "$(uname -m)" = x86_64 ] || { echo "this computer is no x86-64: not tried"; echo "0 passed, 0 failed"; exit 0; }
export LODGE_CACHE=${LODGE_CACHE:-$PWD/build/cache}
made=
[ -n "${LODGE_HOME:-}" ] || made=$work/home
export LODGE_HOME=${LODGE_HOME:-$made}
guest=v2-$$
end() {
	"$LODGE" rm -f "$guest" > /dev/null 2>&1
	rm -rf "$work"
}
trap end EXIT
cannot() {
	echo "$1"
	echo "0 passed, 1 failed"
	exit 1
}
inside() { timeout "$1" "$LODGE" exec "$guest" sh -c "$2"; }

[ -z "$made" ] || "$LODGE" image build --arch amd64 debian || cannot "the image could not be made"
"$LODGE" run -d --arch amd64 --name "$guest" --cpus 2 --memory 2G debian > /dev/null || cannot "it does not run"
for _ in $(seq 120); do
	inside 10 true 2> /dev/null && break
	sleep 1
done
inside 300 'systemctl is-system-running --wait' > /dev/null
[ "$(inside 10 'cat /sys/fs/cgroup/cgroup.controllers' | tr ' ' '\n' | grep -cx -e cpu -e cpuset -e io -e memory -e pids -e hugetlb)" = 6 ] ||
	cannot "it has not all controllers"
inside 900 'export DEBIAN_FRONTEND=noninteractive; apt-get -q -o APT::Update::Error-Mode=any update && exec \
	apt-get -qy --no-install-recommends install busybox-static crun e2fsprogs libarchive13 procps python3 runc uidmap' \
	> "$work/apt" 2>&1 || { tail -n 5 "$work/apt"; cannot "its packages could not be had"; }
mkdir "$work/lib"
# What the program needs that is not the C library.
ldd "$LODGE" | awk '$3 ~ /^\// && $1 !~ /^(libc|libm|ld-linux)[.-]/ { print $3 }' | xargs -I{} cp -L {} "$work/lib/"
inside 10 'mkdir -p /w/test /w/build' &&
	for f in lodge lodge-oci; do "$LODGE" cp "$PWD/$BUILD/$f" "$guest:/w/build/$f" || exit; done &&
	"$LODGE" cp test/zone "$guest:/w/test/zone" && "$LODGE" cp "$work/lib" "$guest:/w/lib" ||
	cannot "it was given nothing"

[ $# != 0 ] || set -- v2 oci habits limits shares
for part; do
	case $part in
	limits) run='LD_LIBRARY_PATH=/w/lib bash test/zone/guest.sh limits.py' ;;
	shares) run='LD_LIBRARY_PATH=/w/lib bash test/zone/guest.sh "limits.py shares"' ;;
	*) run="python3 -B test/zone/$part.py /w/build/lodge-oci" ;;
	esac
	inside 600 "cd /w && $run" < /dev/null > "$work/said" 2>&1
	if [[ $(tail -n 1 "$work/said" | tr -d '\r') =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
		passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
		sed '$d' "$work/said"
		echo "$part: ${BASH_REMATCH[0]}"
	else
		cat "$work/said"
		echo "$part ended early"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
