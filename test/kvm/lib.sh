# What goes into the host that QEMU is, for tests of KVM with hardware's ways; sourced.
package() { ls "$LODGE_CACHE"/apt/*-amd64/debs/linux-image-*-cloud-amd64_*.deb 2> /dev/null | tail -n 1; }
modules() { # PACKAGE-UNPACKED TO: KVM's
	local m f
	for m in irqbypass kvm kvm-amd; do
		f=$(find "$1" -name "$m.ko*")
		case $f in
		*.xz) xz -dc "$f" > "$2/$m.ko" ;;
		*) cp "$f" "$2/$m.ko" ;;
		esac
	done
}
libraries() { # PROGRAM ROOT: all that it is linked with
	local lib
	for lib in $(ldd "$1" | grep -o '/[^ ]*'); do
		mkdir -p "$2${lib%/*}"
		cp -L "$lib" "$2$lib"
	done
}
