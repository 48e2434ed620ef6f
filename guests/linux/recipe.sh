# The built-in guest: Debian's own kernel, untouched, and an initramfs that is busybox, the
# modules a virtual machine needs, and our init. No disk, no network needed, up in seconds.
need cpio cpio
need xz xz-utils

recipe_list() { apt_list "$(kernel_real)" busybox-static; }

recipe_make() {
	root=$work/tmp/root
	say "unpacking the kernel and busybox"
	deb_unpack "$(kernel_real)" "$work/tmp/kernel"
	deb_unpack busybox-static "$work/tmp/busybox"
	cp "$work/tmp/kernel/boot/$kernel_file"-* "$1/kernel"

	say "packing the initramfs"
	mkdir -p "$root/bin" "$root/sbin" "$root/usr/bin" "$root/usr/sbin" "$root/etc" "$root/dev" \
		"$root/proc" "$root/sys" "$root/run" "$root/tmp" "$root/mnt" "$root/root"
	cp "$(find "$work/tmp/busybox" -type f -path '*/bin/busybox')" "$root/bin/busybox"
	ln -s busybox "$root/bin/sh"
	install -m 755 "$recipe/init" "$root/init"
	install -m 755 "$recipe/udhcpc" "$root/etc/udhcpc"
	install -m 644 "$recipe/session" "$root/etc/session"
	mkdir -p "$root/etc/lodge"
	install -m 755 "$recipe/renew" "$root/etc/lodge/renew"
	agent_build "$root/sbin/lodge-agent" || :
	modules_copy "$work/tmp/kernel" "$root" virtio_pci virtio_mmio virtio_blk virtio_net virtio_rng \
		virtio_console virtio_balloon virtiofs ext4 crc32c_generic vfat nls_cp437 nls_ascii \
		nls_iso8859_1 nls_utf8 isofs squashfs overlay loop 9p 9pnet_virtio \
		vmw_vsock_virtio_transport ahci sd_mod sr_mod
	echo "root:x:0:0:root:/root:/bin/sh" >"$root/etc/passwd"
	echo "root:x:0:" >"$root/etc/group"
	initramfs_pack "$root" "$1/initrd"
	cat >"$1/image.json" <<-EOF
		{ "kind": "vm", "kernel": { "file": "kernel" }, "initrd": { "file": "initrd" }, "append": "console=ttyS0", "memory": 536870912 }
	EOF
}
