#!/bin/bash
# More of podman's flows, for engines.sh, which has what is used here: as root, as an ordinary user, with
# systemd inside.

files_parts() { # NAME: of a container that lives
	local name=$1 out
	run -d --name "$name" --network none "$box" sh -c 'echo one; sleep 1; echo two; cat; sleep 100' > /dev/null
	echo given > "$home/given"
	pod cp "$home/given" "$name:/tmp/given" > /dev/null
	check "cp in" '^given$' "$(pod exec "$name" cat /tmp/given)"
	pod cp "$name:/tmp/given" "$home/taken" > /dev/null
	check "cp out" '^given$' "$(cat "$home/taken")"
	check "diff" '^A /tmp/given' "$(pod diff "$name")"
	pod commit -q "$name" "$name:2" > /dev/null
	check "commit" '^given$' "$(run --rm --network none "$name:2" cat /tmp/given)"
	out=$(timeout 10 podman --root "$home/root" --runroot "$home/run" --runtime "$oci" logs -f "$name" 2>&1)
	check "logs -f" '^one two $' "$(tr '\n' ' ' <<< "$out")"
	check "exec of nothing" '^127$' "$(pod exec "$name" nothing-here > /dev/null; echo $?)"
	check "exec that ends" '^9$' "$(pod exec "$name" sh -c 'exit 9'; echo $?)"
	check "exec -t" '^/dev/pts/' "$(pod exec -t "$name" tty)"
	check "exec -d" '^$' "$(pod exec -d "$name" touch /tmp/later > /dev/null)"
	for _ in $(seq 50); do pod exec "$name" test -e /tmp/later && break; sleep 0.1; done
	check "exec -d ran" '^/tmp/later$' "$(pod exec "$name" ls /tmp/later)"
	check "events" "exec.*$name" "$(pod events --since 5m --stream=false)"
	pod rename "$name" "$name-new" > /dev/null
	check "rename" 'running' "$(pod inspect --format '{{.State.Status}}' "$name-new")"
	check "checkpoint is refused" 'CRIU|not support' "$(pod container checkpoint "$name-new")"
	pod restart -t 0 "$name-new" > /dev/null
	check "restart" 'running' "$(pod inspect --format '{{.State.Status}}' "$name-new")"
	check "stop" 'Exited \((137|143)\)' "$(pod stop -t 1 "$name-new" > /dev/null; pod ps -a --filter "name=$name-new")"
	pod rm -f -t 0 "$name-new" > /dev/null
	check "attach" '^heard hello' "$(echo hello | run -i --rm --network none "$box" sh -c 'read x; echo "heard $x"')"
	check "console's size" '33 44' "$(script -qec "stty rows 33 cols 44; podman --root $home/root --runroot $home/run \
		--runtime $oci run --rm -it --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 --network none $box sh -c 'sleep 1; stty size'" \
		/dev/null < /dev/null | tr -d '\r\0')"
}
rights_parts() { # NAME
	local name=$1
	echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}' > "$home/seccomp"
	check "seccomp" 'not supported' "$(run --rm --network none --security-opt "seccomp=$home/seccomp" "$box" mkdir /x)"
	check "seccomp, usual" '^Seccomp:.2' "$(run --rm --network none "$box" grep Seccomp: /proc/self/status)"
	check "seccomp, none" '^Seccomp:.0' "$(run --rm --network none --security-opt seccomp=unconfined "$box" grep Seccomp: /proc/self/status)"
	check "no-new-privileges" '^NoNewPrivs:.1' "$(run --rm --network none --security-opt no-new-privileges "$box" grep NoNew /proc/self/status)"
	check "cap-add" '^CapEff:.*[2367abef].....$' "$(run --rm --network none --cap-add SYS_ADMIN "$box" grep CapEff /proc/self/status)"
	check "cap-drop" '^CapEff:.0*$' "$(run --rm --network none --cap-drop ALL "$box" grep CapEff /proc/self/status)"
	check "device" '10, *229' "$(run --rm --network none --device /dev/fuse "$box" ls -l /dev/fuse)"
	check "privileged" '10, *229' "$(run --rm --network none --privileged "$box" ls -l /dev/fuse)"
	check "cgroup-parent" '/lodge-parent-[0-9]*/libpod-' "$(run --rm --network none --cgroup-parent "/lodge-parent-$$" --cgroupns host "$box" cat /proc/self/cgroup)"
	echo hush > "$home/hush"
	pod secret create --driver-opts "path=$home/secrets" "$name-key" "$home/hush" > /dev/null
	check "secret" '^hush$' "$(run --rm --network none --secret "$name-key" "$box" cat "/run/secrets/$name-key")"
	pod secret rm "$name-key" > /dev/null
	check "sysctl" '^77$' "$(run --rm --network none --sysctl kernel.msgmni=77 "$box" cat /proc/sys/kernel/msgmni)"
	check "shm-size" ' 2048' "$(run --rm --network none --shm-size 2m "$box" df -k /dev/shm)"
	check "user" '^uid=7 gid=8 groups=8,9' "$(run --rm --network none --user 7:8 --group-add 9 "$box" id)"
	check "hostname, env, workdir" '^inn X=y /tmp$' "$(run --rm --network none --hostname inn -e X=y -w /tmp "$box" sh -c 'echo $(hostname) X=$X $(pwd)')"
	check "preserve-fds" '^kept$' "$(run --rm --network none --preserve-fds 1 "$box" cat /proc/self/fd/3 3<<< kept)"
	check "restart policy" '^3$' "$(run -d --name "$name-r" --network none --restart on-failure:2 -v "$home:/v" "$box" sh -c 'echo x >> /v/runs; exit 1' > /dev/null
		for _ in $(seq 100); do [ "$(wc -l < "$home/runs")" = 3 ] && break; sleep 0.1; done; wc -l < "$home/runs")"
	pod rm -f -t 0 "$name-r" > /dev/null
}
pod_parts() { # NAME
	local name=$1
	pod pod create --name "$name" --network none --infra-image "$box" --infra-command 'sleep 1000' > /dev/null
	run -d --pod "$name" --name "$name-1" "$box" sh -c 'mkdir /w; echo page > /w/p; httpd -f -p 8080 -h /w' > /dev/null
	check "pod" '^page$' "$(run --rm --pod "$name" "$box" sh -c 'for i in 1 2 3 4 5; do wget -q -O - http://127.0.0.1:8080/p && break; sleep 0.2; done')"
	check "pod's containers" "$name-1" "$(pod pod inspect "$name")"
	pod generate kube "$name" 2> /dev/null | sed '/^time=/d' > "$home/kube.yaml"
	check "generate kube" '^kind: Pod' "$(cat "$home/kube.yaml")"
	pod pod rm -f -t 0 "$name" > /dev/null
	# Without its own image for the pause container podman would fetch one.
	check "play kube" 'Pod' "$(pod play kube --network none "$home/kube.yaml")"
	for _ in $(seq 50); do pod ps --format '{{.Names}}' | grep -q "^$name-$name-1$" && break; sleep 0.1; done
	check "play kube runs it" '^page$' "$(pod exec "$name-$name-1" cat /w/p)"
	check "play kube --down" "." "$(pod play kube --down "$home/kube.yaml")"
}
# Each other's names, by aardvark-dns; a network of their own, taken away again.
dns_parts() { # NAME
	local name=$1 out
	pod network create "$name-net" > /dev/null
	run -d --name "$name-a" --network "$name-net" "$box" sh -c 'mkdir /w; echo page > /w/p; httpd -f -p 80 -h /w' > /dev/null
	# A static busybox's wget cannot ask for names; its nslookup can.
	out=$(run --rm --network "$name-net" "$box" sh -c "for i in 1 2 3 4 5 6 7 8; do nslookup $name-a && break; sleep 0.3; done")
	out=$(sed -n '1,/^Name/d; s/^Address: *//p' <<< "$out" | head -n 1)
	check "names of others" '^10\.' "$out"
	check "and where they lead" '^page$' "$(timeout 5 busybox wget -q -O - "http://$out/p" 2>&1)"
	pod rm -f -t 0 "$name-a" > /dev/null
	pod network rm -f -t 0 "$name-net" > /dev/null
}

# The image that is also a vm's, with a layer of podman's over it.
systemd_part() { # NAME
	local name=$1 disk state=
	disk=${LODGE_CACHE:-$PWD/build/cache}/made/debian-amd64/disk.raw
	[ -s "$disk" ] || { echo "no disk of Debian in the cache: systemd is not tried"; return; }
	mkdir "$home/debian"
	mount -o loop,ro,noload "$disk" "$home/debian" || return
	run -d --name "$name" --network none --systemd=always --rootfs "$home/debian:O" /sbin/init > /dev/null
	for _ in $(seq 120); do
		state=$(pod exec "$name" systemctl is-system-running)
		case $state in running | degraded) break ;; esac
		sleep 0.5
	done
	check "systemd is up" '^(running|degraded)$' "$state"
	check "nothing failed" '^(systemd-remount-fs.*)?$' "$(pod exec "$name" systemctl --failed --plain --no-legend)"
	check "a service" '^0$' "$(pod exec "$name" systemd-run --wait --pipe -q id -u)"
	pod stop -t 60 "$name" > /dev/null
	check "systemd ends" '^0$' "$(pod inspect --format '{{.State.ExitCode}}' "$name")"
	pod rm -f -t 0 "$name" > /dev/null
	umount "$home/debian"
}

# As a user that is made for it, with files of its own; a device that this host keeps to root is another
# that is like it, in a mount namespace.
rl() {
	(cd "$home/user" && timeout 60 unshare -m sh -c '
		mount -t tmpfs none /mnt && mknod -m 666 /mnt/tun c 10 200 && mount --bind /mnt/tun /dev/net/tun; exec "$@"' sh \
		setpriv --reuid "$user" --regid "$user" --init-groups env -i PATH="$PATH" HOME="$home/user" XDG_RUNTIME_DIR="$home/user/run" \
		podman --runtime "$home/lodge-oci" --cgroup-manager cgroupfs "$@" 2>&1) | grep -v 'no rights to some control groups'
}
rootless_parts() {
	local user=lodgepod$$ uid
	command -v newuidmap slirp4netns > /dev/null || { echo "no newuidmap, slirp4netns: rootless is not tried"; return; }
	useradd -d "$home/user" "$user" || return
	uid=$(id -u "$user")
	chmod 755 "$home"
	cp "$oci" "$home/lodge-oci"
	mkdir -p "$home/user"/{run,v}
	chown -R "$user:$user" "$home/user"
	rl import --change CMD=/bin/sh "$home/image.tar" box:1 > /dev/null
	check "rootless" '^uid=0.gid=0' "$(rl run --rm --network none box:1 id)"
	check "rootless: ids" "^ *0 +$uid +1\$" "$(rl run --rm --network none box:1 cat /proc/self/uid_map)"
	check "rootless: slirp4netns" 'inet 10\.0\.2\.' "$(rl run --rm --network slirp4netns box:1 ip -4 a)"
	check "rootless: keep-id" "^uid=$uid" "$(rl run --rm --network none --userns keep-id -v ./v:/v box:1 sh -c 'touch /v/mine; id')"
	check "rootless: keep-id's file" "^$uid\$" "$(stat -c %u "$home/user/v/mine")"
	check "rootless: keep-groups" '^(0|65534| )*$' "$(rl run --rm --network none --annotation run.oci.keep_original_groups=1 box:1 id -G)"
	check "rootless: a volume given away" '^5$' "$(rl run --rm --network none -v ./v:/v:U --user 5:5 box:1 sh -c 'touch /v/five; stat -c %u /v/five')"
	local init=
	[ ! -x /usr/libexec/podman/catatonit ] || init=--init
	rl run -d --name a $init --network none box:1 sh -c 'echo said; sleep 100' > /dev/null
	check "rootless: exec" 'sleep 100' "$(rl exec a ps)"
	check "rootless: logs" '^said$' "$(rl logs a)"
	check "rootless: pause" 'can not pause|paused' "$(rl pause a; rl inspect --format '{{.State.Status}}' a)"
	check "rootless: top" 'sleep' "$(rl top a)"
	check "rootless: stop" '^(a|.*SIGKILL.*)$' "$(rl stop -t 1 a)"
	check "rootless: rm" '^a$' "$(rl rm a)"
	check "rootless: terminal" '^/dev/pts/0' "$(rl run --rm -t --network none box:1 tty)"
	check "rootless: user namespaces" '^ *0 +1 +1000' "$(rl run --rm --network none --uidmap 0:1:1000 box:1 cat /proc/self/uid_map)"
	check "rootless: read-only" 'Read-only' "$(rl run --rm --network none --read-only box:1 touch /x)"
	rl system migrate > /dev/null # ends the process that holds its namespaces
	rl unshare rm -rf "$home/user/.local" "$home/user/v" > /dev/null
	rl system migrate > /dev/null
	userdel "$user"
}

# In a computer of its own, with the built-in guest's kernel.
own() { LODGE=$PWD/$BUILD/lodge run --annotation org.lodge.kind=vm --network none "$@"; }
vm_parts() { # NAME
	mkdir "$home/shared"
	echo inside > "$home/shared/file"
	check "own kernel" 'cloud|riscv' "$(own --rm "$box" uname -r)"
	own --rm "$box" sh -c 'exit 7' > /dev/null
	check "own kernel: exit status" '^7$' $?
	check "own kernel: terminal" '/dev/pts/0' "$(own --rm -t "$box" tty)"
	own -d --name "$1" -m 300m -v "$home/shared:/v:ro" --tmpfs /scratch "$box" \
		sh -c 'trap "echo bye; exit 3" TERM; cat /v/file; while :; do sleep 0.1; done' > /dev/null
	check "own kernel: exec" 'Read-only' "$(pod exec "$1" touch /v/x)"
	check "own kernel: exec of a user" '^uid=5 gid=6' "$(pod exec -u 5:6 "$1" id)"
	check "own kernel: logs" '^inside$' "$(pod logs "$1")"
	pod stop "$1" > /dev/null
	check "own kernel: stopped by its signal" '^3$' "$(pod wait "$1")"
	check "own kernel: start again" "$1" "$(pod start "$1")"
	pod kill "$1" > /dev/null
	check "own kernel: killed" '^137$' "$(pod wait "$1")"
	check "own kernel: rm" '.' "$(pod rm -f -t 0 "$1")"
}
