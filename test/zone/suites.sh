#!/bin/bash
# suites.sh [SUITE...]: the suites of others, on lodge-oci: the OCI runtime validation programs (valid), crun's
# Python tests (crun), runc's bats (runc). Their sources come from Debian by apt and are built in the cache;
# what fails must be in suites/known. RUNTIME=/usr/bin/crun and LABEL=crun: of another, to compare, where
# nothing is expected. Each program runs with mounts and processes of its own. Needs root.
cd "$(dirname "$0")/../.." || exit 1
[ "$(id -u)" = 0 ] || { echo "not root: not tried"; echo "0 passed, 0 failed"; exit 0; }
cache=${LODGE_CACHE:-$PWD/build/cache}/suites here=$PWD/test/zone/suites
runtime=${RUNTIME:-$PWD/${BUILD:-build}/lodge-oci} label=${LABEL:-lodge} passed=0 failed=0 excused=0
out=$PWD/${BUILD:-build}/test/suites/$label
mkdir -p "$cache" "$out"
work=$(mktemp -d "$cache/run-XXXXXX")
chmod 755 "$work"
end() {
	local d
	# The groups that their tests name; what a test has left alive in them stays, and so do they.
	for d in /sys/fs/cgroup/*/{cgrouptest,testdir,runc-cgroups-integration-test}; do
		[ ! -d "$d" ] || find "$d" -xdev -depth -type d -exec rmdir {} + 2> /dev/null
	done
	rm -rf --one-file-system "$work"
}
trap end EXIT

# This machine's own archives, for sources; of a later release where this one's is not whole.
apt_prepare() {
	local f
	mkdir -p "$cache"/apt/{parts,lists/partial,archives/partial}
	for f in /etc/apt/sources.list.d/*.sources; do
		grep -qs 'debian-archive-keyring' "$f" || continue
		if [ -n "${1:-}" ]; then
			sed -n '1,/^$/p' "$f" | sed "s/^Types:.*/Types: deb-src/; s/^Suites:.*/Suites: $1/"
		else
			sed 's/^Types:.*/Types: deb-src/' "$f"
		fi > "$cache/apt/parts/${f##*/}"
	done
	sed -n 's/^deb \(.*\)/deb-src \1/p' /etc/apt/sources.list > "$cache/apt/list" 2> /dev/null
	get -q update > "$cache/apt/update.log" 2>&1
}
get() {
	apt-get -o Dir::Etc::sourcelist="$cache/apt/list" -o Dir::Etc::sourceparts="$cache/apt/parts" \
		-o Dir::State::lists="$cache/apt/lists" -o Dir::Cache="$cache/apt" -o Debug::NoLocking=1 \
		-o APT::Sandbox::User=root "$@"
}
# PACKAGE DIR: its source as Debian has it from upstream, in DIR.
source_of() {
	local package=$1 dir=$2 tar release
	[ ! -d "$cache/$dir" ] || return 0
	mkdir -p "$work/source"
	for release in '' trixie; do
		apt_prepare $release
		# A mirror may lack one of a source's files; the one that is wanted is checked by its sum.
		(cd "$work/source" && get -q source --download-only "$package" > "$work/source.log" 2>&1)
		tar=$(find "$work/source" -name "${package}_*.orig.tar.*" ! -name '*.asc' | tail -n 1)
		[ -z "$tar" ] || break
	done
	[ -n "$tar" ] || { tail -n 3 "$work/source.log"; return 1; }
	mkdir "$work/tree" && tar -C "$work/tree" --strip-components=1 -xf "$tar" && mv "$work/tree" "$cache/$dir"
}
go_build() { # FROM TO [OPTION...]
	local from=$1 to=$2
	shift 2
	(cd "$from" && GO111MODULE=off GOFLAGS='' GOPATH="$cache/go:/usr/share/gocode" GOCACHE="$cache/gocache" \
		go build "$@" -o "$to" .)
}

# NAME GOOD: one test of theirs.
one() {
	local pattern
	if [ "$2" = 1 ]; then
		passed=$((passed + 1))
		return
	fi
	while IFS= read -r pattern; do
		case $pattern in '' | '#'*) continue ;; esac
		# shellcheck disable=SC2053 # it is a pattern
		if [[ $1 == ${pattern%% | *} ]]; then
			excused=$((excused + 1))
			echo "known: $1: ${pattern#* | }"
			return
		fi
	done < "$here/known"
	failed=$((failed + 1))
	echo "FAIL $1"
}
# SUITE PROGRAM FILE STATUS: what a program printed, in the Test Anything Protocol.
tap() {
	local line bad=0 good=0
	while IFS= read -r line; do
		line=${line%$'\r'}
		case $line in
		'not ok '*'# TODO'*) ;;
		'not ok '*)
			line=${line#not ok * }
			one "$1 $2: ${line#- }" 0
			bad=$((bad + 1))
			;;
		'ok '*)
			one x 1
			good=$((good + 1))
			;;
		esac
	done < "$3"
	# One that ends badly without a word, or has only an error to tell.
	if [ "$bad" = 0 ] && { [ "$4" != 0 ] || { [ "$good" = 0 ] && grep -q '"error"' "$3"; }; }; then
		one "$1 $2" 0
		bad=1
	fi
	printf '%-5s %-34s %4d ok, %d not\n' "$1" "$2" $good $bad
}
# crun refuses a host that has both versions.
alone() {
	timeout --kill-after=5 "$1" unshare --mount --pid --fork --mount-proc --kill-child bash -c \
		'[ "$0" != crun ] || umount /sys/fs/cgroup/unified; exec "$@"' "$label" "${@:2}"
}

valid_build() {
	local d to=$cache/valid name
	source_of golang-github-opencontainers-runtime-tools runtime-tools || return
	[ ! -e "$to/done" ] || return 0
	mkdir -p "$to/bin" "$cache/go/src/github.com/opencontainers" "$cache/go/src/github.com/mndrix/tap-go"
	ln -sfn "$cache/runtime-tools" "$cache/go/src/github.com/opencontainers/runtime-tools"
	cp "$here/tap.go" "$cache/go/src/github.com/mndrix/tap-go/"
	local top=$cache/go/src/github.com/opencontainers/runtime-tools
	go_build "$top/cmd/runtimetest" "$to/runtimetest" -tags 'netgo osusergo' -ldflags '-extldflags -static' || return
	for d in "$top"/validation/*/; do
		name=${d%/} name=${name##*/}
		[ "$name" = util ] || go_build "$d" "$to/bin/$name" || return
	done
	cp "$cache/runtime-tools"/rootfs-*.tar.gz "$to/"
	touch "$to/done"
}
valid() {
	valid_build || { one "valid: built" 0; return; }
	local t name
	mkdir "$work/valid"
	cp "$cache/valid/runtimetest" "$cache/valid"/rootfs-*.tar.gz "$work/valid/"
	for t in "$cache"/valid/bin/*; do
		name=${t##*/}
		(cd "$work/valid" && TMPDIR=$work/valid RUNTIME=$runtime alone 90 "$t" < /dev/null) > "$out/$name.tap" 2> "$out/$name.err"
		tap valid "$name" "$out/$name.tap" $?
	done
}

crun() {
	local t only
	source_of crun crun || { one "crun: fetched" 0; return; }
	mkdir "$work/crun"
	: > "$work/crun/config.h"
	gcc -static -O1 -w -D_GNU_SOURCE -DHAVE_SECCOMP=1 -I"$work/crun" -o "$work/crun/init" "$cache/crun/tests/init.c" || { one "crun: built" 0; return; }
	for t in "$cache"/crun/tests/test_*.py; do
		only=
		# The other moves a container's processes into a frozen group and leaves them there.
		[ "${t##*/}" != test_delete.py ] || only=test_multiple_containers_delete
		(cd "$work/crun" && env ${only:+RUN_TESTS=$only} OCI_RUNTIME="$runtime" INIT="$work/crun/init" \
			bash -c "$(declare -f alone); label=$label; alone 120 python3 -B $t" < /dev/null) > "$out/${t##*/}.tap" 2> "$out/${t##*/}.err"
		tap crun "${t##*/}" "$out/${t##*/}.tap" $?
	done
}

# What their tests take for busybox's image; its folders for /proc and /sys they make themselves.
busybox_image() {
	local r=$work/busybox a
	mkdir -p "$r"/{bin,dev,etc,home,root,tmp,usr/bin,usr/sbin,var}
	cp "$(command -v busybox)" "$r/bin/busybox"
	for a in $(busybox --list | grep -v '^busybox$'); do ln -s busybox "$r/bin/$a"; done
	printf '%s\n' root:x:0:0:root:/root:/bin/sh bin:x:1:1:bin:/bin:/bin/false nobody:x:65534:65534:nobody:/home:/bin/false > "$r/etc/passwd"
	printf '%s\n' root:x:0: bin:x:1: nogroup:x:65534: > "$r/etc/group"
	chmod 1777 "$r/tmp"
	tar -C "$r" -cJf "$1" .
}
runc() {
	local t p top=$cache/go/src/github.com/opencontainers/runc tests=$cache/runc/tests/integration
	source_of runc runc || { one "runc: fetched" 0; return; }
	mkdir -p "${top%/*}"
	ln -sfn "$cache/runc" "$top"
	p=contrib/cmd/recvtty
	[ -x "$cache/runc/$p/recvtty" ] || go_build "$top/$p" "$cache/runc/$p/recvtty" || { one "runc: built" 0; return; }
	mkdir -p "$tests/testdata" "$work/runc"
	busybox_image "$tests/testdata/busybox-$(go env GOARCH).tar.xz"
	cp "$tests/testdata/busybox-$(go env GOARCH).tar.xz" "$tests/testdata/debian-$(go env GOARCH).tar.xz"
	for t in "$tests"/*.bats; do
		# CRIU, sshfs and an agent with libseccomp for Go are not here.
		case ${t##*/} in checkpoint.bats | mounts_sshfs.bats | seccomp-notify.bats) continue ;; esac
		# One has no end where it fails: it waits for what it left behind when "rwa" was no access to a device.
		p=
		[ "${t##*/}" != update.bats ] || p="-f '^(update c|set|update r|update p)'"
		(cd "$tests" && RUNC=$runtime TMPDIR=$work/runc alone 300 script -qec "bats -t $p ${t##*/}" /dev/null < /dev/null) > "$out/${t##*/}.tap" 2>&1
		tap runc "${t##*/}" "$out/${t##*/}.tap" $?
	done
}

[ $# != 0 ] || set -- valid crun runc
for suite; do "$suite"; done
echo "$excused known not to pass"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
