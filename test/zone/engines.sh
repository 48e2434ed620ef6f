#!/bin/bash
# engines.sh [PART...]: podman and containerd run containers through build/lodge-oci. Each is tried if it
# is here, in folders of its own. Needs root. PART: podman, files, rights, vm, pods, dns, systemd,
# rootless, containerd.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=test/zone/engines_podman.sh
. test/zone/engines_podman.sh
BUILD=${BUILD:-build} passed=0 failed=0
oci=$PWD/$BUILD/lodge-oci home=$(mktemp -d /tmp/lodge-engines-XXXXXX) daemon= events=
[ "$(id -u)" = 0 ] || { echo "not root: not tried"; echo "0 passed, 0 failed"; exit 0; }

check() { # NAME PATTERN TEXT
	if grep -qE -- "$2" <<< "$3"; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAIL $1: wanted $2, got: $3"
	fi
}
rootfs() {
	mkdir -p "$home/rootfs"/{bin,proc,dev,sys,etc,tmp,run,root}
	cp "$(command -v busybox)" "$home/rootfs/bin/busybox"
	for a in $(busybox --list | grep -v '^busybox$'); do ln -s busybox "$home/rootfs/bin/$a"; done
	tar -C "$home/rootfs" -cf "$home/image.tar" .
}
pod() { timeout 60 podman --root "$home/root" --runroot "$home/run" --runtime "$oci" "$@" 2>&1; }
# Limits are given, since podman's own are above what a host may allow that lacks CAP_SYS_RESOURCE.
run() { pod run --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 "$@"; }

podman_parts() {
	local name=lodge-test-$$ out
	check "run" '^uid=0' "$(run --rm --network none "$name:1" id)"
	check "limits" '^67108864$' "$(run --rm --network none --memory 64m --cpus 0.5 --cpu-shares 512 \
		--pids-limit 50 "$name:1" cat /sys/fs/cgroup/memory/memory.limit_in_bytes)"
	run --rm --network none "$name:1" sh -c 'exit 7' > /dev/null
	check "exit status" '^7$' $?
	run --rm --network none "$name:1" nothing-here > /dev/null
	check "no such program" '^127$' $?
	run --rm --network none "$name:1" /etc > /dev/null
	check "no program" '^126$' $?
	check "terminal" '/dev/pts/0' "$(run --rm -t --network none "$name:1" tty)"
	check "user namespace" '100000 +1000' "$(run --rm --network none --uidmap 0:100000:1000 "$name:1" \
		cat /proc/self/uid_map)"
	check "privileged" 'CapEff:\s*0*[1-9a-f]' "$(run --rm --network none --privileged "$name:1" grep CapEff /proc/self/status)"
	local init=
	[ ! -x /usr/libexec/podman/catatonit ] || init=--init
	mkdir "$home/volume"
	echo inside > "$home/volume/file"
	run -d --name "$name" --network none $init -v "$home/volume:/v:ro" --read-only --tmpfs /run \
		--health-cmd 'test -e /v/file' --health-interval 0 "$name:1" \
		sh -c 'cat /v/file; while :; do sleep 0.1; done' > /dev/null
	check "exec" 'Read-only' "$(pod exec "$name" touch /v/x)"
	check "exec of a user" '^uid=5 gid=6' "$(pod exec -u 5:6 "$name" id)"
	check "top" 'sleep|cat' "$(pod top "$name")"
	check "health" '^0$' "$(pod healthcheck run "$name" > /dev/null; echo $?)"
	check "stats" "$name" "$(pod stats --no-stream "$name")"
	pod pause "$name" > /dev/null
	check "pause" 'paused' "$(pod inspect --format '{{.State.Status}}' "$name")"
	pod unpause "$name" > /dev/null
	check "unpause" 'running' "$(pod inspect --format '{{.State.Status}}' "$name")"
	check "logs" '^inside$' "$(pod logs "$name")"
	pod kill "$name" > /dev/null
	pod wait "$name" > /dev/null
	check "kill" '137' "$(pod inspect --format '{{.State.ExitCode}}' "$name")"
	pod start "$name" > /dev/null
	check "start again" 'running' "$(pod inspect --format '{{.State.Status}}' "$name")"
	check "rm" "." "$(pod rm -f -t 0 "$name")"
	if command -v netavark /usr/lib/podman/netavark > /dev/null; then
		run -d --name "$name-web" -p "127.0.0.1:$((20000 + $$ % 20000)):80" "$name:1" \
			sh -c 'mkdir /w; echo page > /w/index.html; httpd -f -p 80 -h /w' > /dev/null
		for _ in $(seq 50); do
			out=$(timeout 5 busybox wget -q -O - "http://127.0.0.1:$((20000 + $$ % 20000))/index.html" 2>&1)
			[ "$out" != page ] || break
			sleep 0.1
		done
		check "port" '^page$' "$out"
		pod rm -f -t 0 "$name-web" > /dev/null
	fi
}

ctr_() { timeout 60 ctr -a "$home/ctd/sock" "$@" 2>&1; }
containerd_parts() {
	mkdir -p "$home/ctd"
	cat > "$home/ctd/config.toml" <<- END
		version = 2
		root = "$home/ctd/root"
		state = "$home/ctd/state"
		disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
		[grpc]
		  address = "$home/ctd/sock"
	END
	containerd -c "$home/ctd/config.toml" > "$home/ctd/log" 2>&1 &
	daemon=$!
	for _ in $(seq 100); do ctr_ version > /dev/null && break; sleep 0.1; done
	ctr_ images import "$home/oci.tar" > /dev/null
	ctr -a "$home/ctd/sock" events > "$home/ctd/events" 2>&1 &
	events=$!
	local image
	image=$(ctr_ images ls -q | head -n 1)
	check "ctr run" '^uid=0' "$(ctr_ run --rm --runc-binary "$oci" "$image" "c1-$$" /bin/id)"
	ctr_ run -d --runc-binary "$oci" "$image" "c2-$$" /bin/sleep 100 > /dev/null
	check "ctr exec" '^uid=0' "$(ctr_ task exec --exec-id e1 "c2-$$" /bin/id)"
	ctr_ task pause "c2-$$" > /dev/null
	check "ctr pause" 'PAUSED' "$(ctr_ task ls)"
	ctr_ task resume "c2-$$" > /dev/null
	check "ctr resume" 'RUNNING' "$(ctr_ task ls)"
	check "ctr ps" '[0-9]' "$(ctr_ task ps "c2-$$")"
	check "ctr metrics" 'memory' "$(ctr_ task metrics "c2-$$")"
	check "ctr exec of a user" '^uid=7 gid=8' "$(ctr_ task exec --exec-id e2 --user 7:8 "c2-$$" /bin/id)"
	ctr_ task exec --exec-id e3 "c2-$$" /bin/sh -c 'exit 7' > /dev/null
	check "ctr exec's exit code" '^7$' $?
	ctr_ task kill -s KILL "c2-$$" > /dev/null
	for _ in $(seq 50); do ctr_ task ls | grep -q RUNNING || break; sleep 0.1; done
	check "ctr kill" 'STOPPED' "$(ctr_ task ls)"
	ctr_ task delete "c2-$$" > /dev/null
	check "ctr delete" '^TASK *PID *STATUS *$' "$(ctr_ task ls)"
	ctr_ containers delete "c2-$$" > /dev/null
	local r=(run --rm --runc-binary "$oci")
	check "ctr -t" '/dev/pts/0' "$(script -qec "ctr -a $home/ctd/sock ${r[*]} -t $image c3-$$ /bin/tty" /dev/null < /dev/null)"
	check "ctr --env, --cwd" '^y /tmp' "$(ctr_ "${r[@]}" --env X=y --cwd /tmp "$image" "c4-$$" /bin/sh -c 'echo $X $(pwd)')"
	echo inside > "$home/ctd/file"
	check "ctr --mount" '^inside$' "$(ctr_ "${r[@]}" --mount "type=bind,src=$home/ctd/file,dst=/v,options=rbind:ro" "$image" "c5-$$" /bin/cat /v)"
	check "ctr --memory-limit" '^67108864$' "$(ctr_ "${r[@]}" --memory-limit 67108864 --mount type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro "$image" "c6-$$" /bin/cat \
		/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2> /dev/null)"
	ctr_ "${r[@]}" "$image" "c7-$$" /bin/sh -c 'exit 9' > /dev/null
	check "ctr's exit code" '^9$' $?
	check "ctr of nothing" 'no such file|No such file|not found' "$(ctr_ "${r[@]}" "$image" "c8-$$" /nothing-here)"
	check "ctr --read-only" 'Read-only' "$(ctr_ "${r[@]}" --read-only "$image" "c9-$$" /bin/touch /x)"
	check "ctr --privileged" 'CapEff:.*[1-9a-f]' "$(ctr_ "${r[@]}" --privileged "$image" "c10-$$" /bin/grep CapEff /proc/self/status)"
	check "ctr events" 'tasks/(exit|start)' "$(cat "$home/ctd/events")"
}

end() {
	[ -z "$events" ] || { kill "$events" && wait "$events"; } 2> /dev/null
	[ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } 2> /dev/null
	! command -v podman > /dev/null || pod rm -af -t 0 > /dev/null
	umount "$home/debian" 2> /dev/null
	umount -l "$home"/root/overlay 2> /dev/null
	id "lodgepod$$" > /dev/null 2>&1 && userdel "lodgepod$$"
	# Where there is no such hierarchy podman has made ordinary folders, with files.
	for d in /sys/fs/cgroup/*/lodge-parent-$$; do
		[ ! -d "$d" ] || [ "$(stat -f -c %T "$d")" != tmpfs ] || find "$d" -xdev -type f -delete
		[ ! -d "$d" ] || find "$d" -xdev -depth -type d -exec rmdir {} +
	done 2> /dev/null
	rm -rf --one-file-system "$home"
}
trap end EXIT
rootfs
[ $# != 0 ] || set -- podman files rights vm pods dns systemd rootless containerd
box=lodge-test-$$:1
if command -v podman > /dev/null; then
	pod import --change CMD=/bin/sh "$home/image.tar" "$box" > /dev/null
	pod save --format oci-archive -o "$home/oci.tar" "$box" > /dev/null
else
	echo "no podman here: not tried"
	set --
fi
for part; do
	case $part in
	podman) podman_parts ;;
	files | rights | vm) "${part}_parts" "lodge-$part-$$" ;;
	pods) pod_parts "lodge-pod-$$" ;;
	dns)
		if command -v netavark /usr/lib/podman/netavark > /dev/null; then dns_parts "lodge-dns-$$"; else
			echo "no netavark here: not tried"
		fi
		;;
	systemd) systemd_part "lodge-systemd-$$" ;;
	rootless) rootless_parts ;;
	containerd)
		if [ -s "$home/oci.tar" ] && command -v ctr containerd > /dev/null; then containerd_parts; else
			echo "no containerd here: not tried"
		fi
		;;
	esac
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
