# Debian itself on a disk: systemd, apt, ssh. The host unpacks the packages and makes the file
# system; the packages' own scripts are riscv64 programs (or whatever CPU), so they run in the
# second stage: in a chroot when this machine can run such programs, otherwise in a virtual
# machine of ours that boots the very disk it is finishing.
need cpio cpio
need xz xz-utils
need mke2fs e2fsprogs
need depmod kmod

packages="apt systemd-sysv systemd-resolved libpam-systemd dbus udev openssh-server iproute2
	iputils-ping netbase procps less kmod nano e2fsprogs"
# Up to bookworm something has to say that /bin is /usr/bin; the first choice would bring much.
[ "$codename" != bookworm ] || packages="$packages usr-is-merged"
case $(mirror_uri) in https:*) packages="$packages ca-certificates" ;; esac
disk_size=${LODGE_DISK_SIZE:-4G}

recipe_list() {
	apt_closure '?essential' '?priority(required)' $packages >"$work/.closure"
	apt_list "$(kernel_real)" busybox-static $(sed 's/_.*//' "$work/.closure")
}

recipe_make() {
	made=$1
	tmp=$work/tmp
	as_root=
	say "unpacking the kernel"
	deb_unpack "$(kernel_real)" "$tmp/kernel"
	deb_unpack busybox-static "$tmp/busybox"
	cp "$tmp/kernel/boot/$kernel_file"-* "$made/kernel"
	make_initrd
	make_settings
	agent_build "$tmp/settings/lodge-agent" || :
	mkdir "$tmp/mnt"
	cp "$work/.closure" "$tmp/debs"
	if as_root=$(chroot_way); then
		say "this machine runs $arch programs: the second stage is a chroot"
		$as_root sh -eu "$recipe/stage1" "$tmp" "$apt/debs" "$arch" chroot "$made/disk.raw" "$disk_size" 8>&- 9>&-
	else
		need fakeroot fakeroot
		fakeroot sh -eu "$recipe/stage1" "$tmp" "$apt/debs" "$arch" vm "$made/disk.raw" "$disk_size" 8>&- 9>&-
		stage2_vm
	fi
	cat >"$made/image.json" <<-EOF
		{ "kind": "vm", "kernel": { "file": "kernel" }, "initrd": { "file": "initrd" },
		  "append": "console=ttyS0 root=/dev/vda rw", "memory": 1073741824,
		  "disk": { "file": "disk.raw", "format": "raw" } }
	EOF
}

# The initramfs only finds the root file system: busybox, the disk's and the file system's
# modules. Everything else is loaded by udev from the root.
make_initrd() {
	root=$tmp/initrd
	mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/root" "$root/run"
	cp "$(find "$tmp/busybox" -type f -path '*/bin/busybox')" "$root/bin/busybox"
	ln -s busybox "$root/bin/sh"
	install -m 755 "$recipe/init" "$root/init"
	modules_copy "$tmp/kernel" "$root" virtio_pci virtio_mmio virtio_blk ext4 crc32c_generic
	initramfs_pack "$root" "$made/initrd"
}

# What the guest is told about this machine. Names of this machine itself would lead the guest
# to itself; on the guest's network this machine is 10.0.2.2.
seen_from_guest() { sed 's#//\(localhost\|127\.[0-9.]*\|\[::1\]\)\([:/]\|$\)#//10.0.2.2\2#'; }
make_settings() {
	mkdir -p "$tmp/settings"
	sed 's/^deb \[[^]]*\] \([^ ]*\) \([^ ]*\) .*/\1 \2/; s/ \(old\)\{0,1\}stable/ '"$codename/" "$apt/sources.list" | seen_from_guest >"$tmp/settings/sources"
	apt-config shell p Acquire::http::Proxy | sed "s/^p='\(.*\)'/\1/" | seen_from_guest >"$tmp/settings/proxy"
	cat "${LODGE_SSH_KEY:-/dev/null}" >"$tmp/settings/authorized_keys"
	cp "$recipe/stage2" "$tmp/settings/stage2"
}

# A command before which "chroot DIR" may run this CPU's programs as root, or failure. Either this
# user is root, or /etc/subuid gives him a range of ids (one id alone cannot own Debian's files).
chroot_way() {
	[ -z "${LODGE_STAGE2:-}" ] || [ "$LODGE_STAGE2" = chroot ] || return 1
	busybox=$(find "$tmp/busybox" -type f -path '*/bin/busybox')
	for way in "unshare --mount --pid --fork" \
		"unshare --map-root-user --map-auto --mount --pid --fork" "sh $recipe/in-userns"; do
		$way sh "$recipe/foreign" "$qemu_cpu" "$tmp/mnt" "$busybox" true >/dev/null 2>&1 8>&- 9>&- || continue
		echo "$way sh $recipe/foreign $qemu_cpu $tmp/mnt"
		return
	done
	return 1
}

stage2_vm() {
	lodge=${LODGE:-$(command -v lodge || true)}
	for l in "$here/../build/lodge" "$here/../../../bin/lodge"; do
		[ -n "$lodge" ] || [ ! -x "$l" ] || lodge=$l
	done
	[ -n "$lodge" ] || die "the second stage runs in a virtual machine, but there is no lodge: make it first"
	total=$(wc -l <"$tmp/debs")
	say "this machine cannot run $arch programs: the second stage runs in a virtual machine (minutes)"
	"$lodge" run --arch "$arch" --memory 1G --net none --kernel "$made/kernel" \
		--initrd "$made/initrd" --disk "$made/disk.raw" \
		--append "console=ttyS0 root=/dev/vda rw lodge.stage2 quiet" </dev/null 2>&1 8>&- 9>&- |
		stage2_watch "$total" >"$tmp/stage2"
	grep -q '^done' "$tmp/stage2" || die "the second stage failed; its last words: $(tail -n 5 "$tmp/stage2")"
}
stage2_watch() { # TOTAL: the console on stdin; progress on stderr, its last lines on stdout
	tr -d '\r' | awk -v total="$1" -v tty="$([ -t 2 ] && echo 1 || echo 0)" '
		{ last[NR % 20] = $0 }
		/^Setting up / {
			n++
			if (tty) printf "\rguests: configuring %d of %d: %-40.40s", n, total, $3 >"/dev/stderr"
			else if (n % 20 == 0) printf "guests: configured %d of %d\n", n, total >"/dev/stderr"
		}
		/^lodge: second stage done/ { done = 1 }
		END {
			if (tty && n) print "" >"/dev/stderr"
			for (i = NR - 19; i <= NR; i++) if (i > 0) print " " last[i % 20]
			if (done) print "done"
		}'
}
