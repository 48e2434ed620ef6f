# What recipes share: words, a private apt, packages, module closures, archives, publishing.
# Sourced by guests/build; POSIX sh. Functions that print data print it on stdout, words for
# the person go to stderr.

say() { echo "guests: $*" >&2; }
die() {
	say "$*"
	exit 1
}
need() { # need PROGRAM PACKAGE
	command -v "$1" >/dev/null || die "$1 is missing: apt-get install $2"
}
digest() { sha256sum | cut -d' ' -f1; }
recipes() { (cd "$1" && ls -d -- */recipe.sh 2>/dev/null | sed 's|/recipe.sh||' | tr '\n' ' '); }

# The names Debian and the kernel use for a guest's CPU, and the release its guests are.
arch_set() {
	case $1 in
	riscv64)
		codename=trixie firmware=opensbi
		kernel_package=linux-image-riscv64 kernel_file=vmlinux qemu_cpu=riscv64
		guest_cc=riscv64-linux-gnu-gcc module_labels=many
		guest_cc_package="gcc-riscv64-linux-gnu libc6-dev-riscv64-cross"
		;;
	amd64)
		codename=bookworm firmware="seabios ovmf"
		kernel_package=linux-image-cloud-amd64 kernel_file=vmlinuz qemu_cpu=x86_64
		guest_cc=x86_64-linux-gnu-gcc guest_cc_package="gcc libc6-dev"
		;;
	*) die "$1: no recipes for this CPU; there are: riscv64 amd64" ;;
	esac
	kernel_package=${LODGE_KERNEL:-$kernel_package}
}
# What the caller may set and what changes the result; part of the key.
settings() { echo "ssh=$(cat "${LODGE_SSH_KEY:-/dev/null}") size=${LODGE_DISK_SIZE:-}${LODGE_KERNEL:+ kernel=$LODGE_KERNEL}"; }

cache_open() {
	if [ -n "${LODGE_CACHE:-}" ]; then
		cache=$LODGE_CACHE
	elif [ "$(id -u)" = 0 ]; then
		cache=/var/cache/lodge
	else
		cache=${XDG_CACHE_HOME:-$HOME/.cache}/lodge
	fi
	mkdir -p "$cache"
	cache=$(cd "$cache" && pwd)
}
# A lock on descriptor 9 (the cache's packages) or 8 (what is being made). Programs that may
# outlive us do not get these: "9>&- 8>&-".
lock() { # DESCRIPTOR FILE
	eval "exec $1>\"\$2\""
	flock -n "$1" || {
		say "another build is running; waiting for it"
		flock "$1"
	}
}
unlock() { eval "exec $1>&-"; }
made() { [ -f "$1/.$2" ] && [ -f "$1/image.json" ] && [ "$(cat "$1/.$2")" = "$3" ]; } # OUT recipe|key KEY

# Leftovers of builds that were killed: we hold the lock, so nobody is using them.
sweep() {
	for left in "$1".making.* "$1".old.*; do
		[ "$left" = "$work" ] || [ ! -e "$left" ] || remove "$left"
	done
}
remove() { rm -rf -- "$1" 2>/dev/null || unshare -r rm -rf -- "$1" 2>/dev/null || rm -rf -- "$1"; }
cleanup() { [ -z "${work:-}" ] || remove "$work"; }
publish() { # FROM TO: on one file system; TO is never half there
	old=
	if [ -e "$2" ]; then
		old=$2.old.$$
		mv "$2" "$old"
	fi
	mv "$1" "$2"
	sync -f "$2"
	[ -z "$old" ] || remove "$old"
}

# --- packages --------------------------------------------------------------------------------
# Where this machine itself gets Debian from: apt's answer, so every form of its configuration
# (sources.list, deb822, mirror lists, proxies) is understood. LODGE_MIRROR overrides.
mirror_uri() {
	if [ -n "${LODGE_MIRROR:-}" ]; then
		echo "${LODGE_MIRROR%/}"
		return
	fi
	own_uri '[a-z]*' | grep . ||
		die "apt on this machine names no Debian mirror; set LODGE_MIRROR=<uri of a Debian archive>"
}
security_uri() { [ -n "${LODGE_MIRROR:-}" ] || own_uri '[a-z]*-security'; }
own_uri() { # PATTERN of a suite's name
	mkdir -p "$cache/probe/lists/partial"
	apt-get -o Dir::State="$cache/probe" -o Dir::Cache="$cache/probe" -o Debug::NoLocking=1 \
		--print-uris update 2>/dev/null |
		sed -n "s|^'\(.*\)/dists/\($1\)/InRelease'.*|\2 \1|p" |
		awk '$1 ~ /^(buster|bullseye|bookworm|trixie|forky|duke|sid|stable|oldstable|testing|unstable)(-security)?$/ {
			print $2; exit }'
}
debian_keyring() {
	for k in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
		[ ! -f "$k" ] || {
			echo "$k"
			return
		}
	done
	die "Debian's keys are missing: apt-get install debian-archive-keyring"
}
# A private apt for one suite and CPU: own lists, cache and status; the machine's proxies and keys.
# Updates and security fixes are taken where this machine's mirror has them for that CPU.
apt_init() { # SUITE ARCH
	mirror=$(mirror_uri)
	apt=$cache/apt/$1-$2
	mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/debs/partial"
	: >"$apt/status"
	cat >"$apt/conf" <<-EOF
		#clear APT::Architectures;
		#clear DPkg::Pre-Install-Pkgs;
		#clear DPkg::Post-Invoke;
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
		APT::Architecture "$2";
		APT::Architectures { "$2"; };
		APT::Sandbox::User "root";
		APT::Update::Error-Mode "any";
		Dir::State "$apt";
		Dir::State::status "$apt/status";
		Dir::Cache "$apt";
		Dir::Etc::sourcelist "$apt/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		APT::Get::List-Cleanup "false";
		Acquire::Languages "none";
		Acquire::Retries "3";
	EOF
	quiet=-qq
	[ ! -t 2 ] || quiet=-q=0
	keyring=$(debian_keyring)
	locked=
	: >"$apt/sources.new"
	for pause in 2 8 ''; do
		apt_add "$mirror" "$1" && break
		! apt_known || break
		[ -z "$pause" ] || {
			say "cannot read the package lists; trying again in $pause seconds"
			sleep "$pause"
		}
	done
	if [ ! -s "$apt/sources.new" ]; then
		apt_known || apt_lock "$1" "$2" || {
			grep '^E:' "$apt/update.log" | head -n 3 >&2
			die "cannot read the package lists of $mirror; is there a network? LODGE_MIRROR chooses another mirror"
		}
		[ -n "$locked" ] || say "cannot read the package lists just now; going by those of the last time"
		return
	fi
	for more in "$mirror $1-updates" "$(security_uri) $1-security"; do
		[ -n "${main_only:-}" ] || [ "${more# }" != "$more" ] || apt_add $more || say "doing without ${more#* }, which the mirror does not have whole"
	done
	mv "$apt/sources.new" "$apt/sources.list"
}
# Add a suite to sources.new if its lists are to be had. While a mirror is being synced, or a cache
# before it is stale, the lists under one name may not be those that it signed; under the release's
# other name they may. Apt refuses what does not fit, and a release by another codename is not taken.
apt_add() { # URI SUITE
	for suite in "$2" "stable${2#"${2%%-*}"}" "oldstable${2#"${2%%-*}"}"; do
		{
			cat "$apt/sources.new"
			echo "deb [arch=$arch signed-by=$keyring] $1 $suite main"
		} >"$apt/sources.more"
		apt-get -c "$apt/conf" -o Dir::Etc::sourcelist="$apt/sources.more" $quiet update >&2 2>"$apt/update.log" || continue
		! apt-get -c "$apt/conf" -o Dir::Etc::sourcelist="$apt/sources.more" indextargets --format '$(CODENAME)' |
			grep -qv "^${2%%-*}" || continue
		mv "$apt/sources.more" "$apt/sources.new"
		return
	done
	return 1
}
# The last resort: packages as guests/lock recorded them.
apt_lock() { # SUITE ARCH
	[ "$1" = "$codename" ] && [ -f "$here/$2.lock" ] || return 1
	locked=$here/$2.lock
	echo "deb [arch=$2 signed-by=$keyring] $mirror $1 main" >"$apt/sources.list"
	say "the mirror's package lists cannot be read or do not fit their signature; taking the packages that $2.lock names"
}
apt_known() { [ -s "$apt/sources.list" ] && [ -n "$(apt_field "$kernel_package" Version 2>/dev/null)" ]; }
apt_field() { # PACKAGE FIELD
	apt-cache -c "$apt/conf" show --no-all-versions "$1" | sed -n "s/^$2: //p" | head -n 1
}
# The exact files that packages are now: URI, name, size, digest, a line each. (In a folder of
# its own: apt leaves out what already lies in the current one.)
apt_list() {
	if [ -n "$locked" ]; then
		lock_list "$@"
		return
	fi
	mkdir -p "$apt/nothing"
	(cd "$apt/nothing" && apt-get -c "$apt/conf" --print-uris download "$@") | grep "^'" | sort -k 2
}
# The files of packages and of all that they depend on, in an order that dpkg could take them.
apt_closure() {
	if [ -n "$locked" ]; then
		awk '$1 == "closure" { print $3 }' "$locked"
		return
	fi
	apt-get -c "$apt/conf" -q -y --no-install-recommends --print-uris install "$@" |
		sed -n "s/^'[^']*' \([^ ]*\) .*/\1/p"
}
# ARCH.lock holds what these were on the day it was written (guests/lock does), a line each: closure
# or more, path in the archive, name, size, digest. Its digests are as good as the list's.
lock_list() { # PACKAGE...
	for p; do
		awk -v p="$p" -v m="$mirror" '{ split($3, n, "_") }
			n[1] == p { print "\047" m "/" $2 "\047", $3, $4, $5; found = 1; exit }
			END { exit !found }' "$locked" || die "$p: is not in $locked either"
	done | sort -k 2
}
lock_fetch() { # LIST: those of its files that are not there yet
	while read -r uri file _ sum; do
		[ ! -f "$apt/debs/$file" ] || continue
		uri=${uri#\'}
		/usr/lib/apt/apt-helper -c "$apt/conf" -o APT::Sandbox::User=root -q download-file "${uri%\'}" \
			"$apt/debs/partial/$file" "$sum" >&2 </dev/null || return 1
	done <"$1"
}
deb_name() { echo "${1%%_*}"; } # gcc-14-base_14.2.0-19_riscv64.deb -> gcc-14-base
deb_version() {
	v=${1#*_}
	printf '%s' "${v%_*}" | sed 's/%3a/:/g'
}
deb_good() { [ -f "$1" ] && [ "$(digest <"$1")" = "${2#SHA256:}" ]; } # FILE SUM
# Bring what apt_list named into debs/. Half a file is carried on where it stopped; each is
# checked against the signed list before it gets its real name.
apt_fetch() {
	want='' n=0 mb=0
	while read -r _ file size sum; do
		! deb_good "$apt/debs/$file" "$sum" || continue
		rm -f "$apt/debs/$file"
		want="$want $(deb_name "$file")=$(deb_version "$file")" n=$((n + 1)) mb=$((mb + size))
	done <"$1"
	[ -n "$want" ] || return 0
	say "fetching $n packages, $(((mb + 524288) / 1048576)) MB"
	if [ -n "$locked" ]; then
		lock_fetch "$1"
	else
		(cd "$apt/debs/partial" && apt-get -c "$apt/conf" $quiet download $want >&2)
	fi ||
		die "cannot fetch all packages: is there a network? run again, it continues where it stopped"
	while read -r _ file _ sum; do
		[ ! -f "$apt/debs/$file" ] || continue
		deb_good "$apt/debs/partial/$file" "$sum" || {
			rm -f "$apt/debs/partial/$file"
			die "$(deb_name "$file"): the download does not have the listed digest; run again"
		}
		mv "$apt/debs/partial/$file" "$apt/debs/$file"
	done <"$1"
}
deb_unpack() { # PACKAGE DIR
	deb=$(awk -v p="$1" '{ split($2, n, "_"); if (n[1] == p) print $2 }' "$work/.list" | head -n 1)
	[ -n "$deb" ] || die "$1: was not fetched"
	mkdir -p "$2"
	dpkg-deb --fsys-tarfile "$apt/debs/$deb" | tar -x -C "$2" --no-same-owner
}
# linux-image-ARCH is a name for whichever kernel is current; this is that one.
kernel_real() {
	if [ -n "$locked" ]; then
		awk '$3 ~ /^linux-image-[0-9]/ { sub(/_.*/, "", $3); print $3; exit }' "$locked"
		return
	fi
	apt_field "$kernel_package" Depends | tr ',' '\n' | sed -n 's/^ *\(linux-image-[^ ]*\).*/\1/p' | head -n 1
}

# --- initramfs -------------------------------------------------------------------------------
# Copy modules and whatever they name in depends= and softdep= from kernel tree FROM into the
# tree TO, uncompressed (the guest starts sooner), and write the two tables modprobe reads.
# A module that the kernel has built in is passed over in silence.
modules_copy() { # FROM TO MODULE...
	from=$1/usr/lib/modules
	[ -d "$from" ] || from=$1/lib/modules
	release=$(ls "$from")
	dir=$2/lib/modules/$release
	mkdir -p "$dir"
	shift 2
	(cd "$from/$release" && find kernel -name '*.ko*') |
		awk '{ n = $0; sub(/.*\//, "", n); sub(/\.ko.*/, "", n); gsub(/-/, "_", n); print n, $0 }' >"$work/tmp/modules"
	: >"$dir/modules.dep"
	: >"$dir/modules.alias"
	: >"$work/tmp/copied"
	for m; do module_copy "$m"; done
}
module_read() { # PATH: unpacked
	case $1 in
	*.xz) xz -dc "$from/$release/$1" ;;
	*.zst) zstd -dcq "$from/$release/$1" ;;
	*) cat "$from/$release/$1" ;;
	esac
}
module_info() { tr '\0' '\n' <"$1" | sed -n "s/^$2=//p"; } # FILE FIELD
module_path() { awk -v m="$(printf '%s' "$1" | tr - _)" '$1 == m { print $2; exit }' "$work/tmp/modules"; }
module_copy() {
	case " $(tr '\n' ' ' <"$work/tmp/copied") " in *" $1 "*) return ;; esac
	echo "$1" >>"$work/tmp/copied"
	path=$(module_path "$1")
	[ -n "$path" ] || return 0
	file=${path%.ko*}.ko
	mkdir -p "$dir/$(dirname "$file")"
	module_read "$path" >"$dir/$file"
	module_slim "$dir/$file"
	deps=$(module_info "$dir/$file" depends | tr ',' ' ')
	deps="$deps $(module_info "$dir/$file" softdep | sed -n 's/.*pre: *//p' | sed 's/post:.*//')"
	{
		printf '%s:' "$file"
		module_closure $deps
		echo
	} >>"$dir/modules.dep"
	module_info "$dir/$file" alias | sed "s/.*/alias & $(basename "$file" .ko | tr - _)/" >>"$dir/modules.alias"
	for d in $deps; do module_copy "$d"; done
}
# Modules for RISC-V name each place that the compiler ever named, ext4 two hundred thousand: three
# quarters of their bytes. What no relocation needs of that goes, functions' names stay. So does the
# signature, which fits no more; the kernel asks for none, but says so once.
module_slim() { # FILE
	[ -n "${module_labels:-}" ] || return 0
	strip=$(guest_tool strip)
	! command -v "$strip" >/dev/null || "$strip" --discard-locals "$1" || die "$1: cannot be stripped"
}
# Direct and indirect dependencies, nearest first, as modprobe wants them.
module_closure() {
	for d in $(module_order "$@"); do
		p=$(module_path "$d")
		[ -z "$p" ] || printf ' %s' "${p%.ko*}.ko"
	done
}
module_order() {
	todo="$*" seen=
	while [ -n "${todo# }" ]; do
		next=
		for t in $todo; do
			p=$(module_path "$t")
			[ -n "$p" ] || continue
			seen="$t $(printf '%s' " $seen " | sed "s/ $t / /g")"
			next="$next $(module_read "$p" | tr '\0' '\n' | sed -n 's/^depends=//p' | tr ',' ' ')"
		done
		todo=$(echo $next)
	done
	for s in $seen; do echo "$s"; done | awk '{ l[NR] = $0 } END { for (i = NR; i > 0; i--) print l[i] }'
}
# A program for that CPU's programs, such as gcc and strip.
guest_tool() { # NAME
	case $(uname -m):$1 in
	"$qemu_cpu:gcc") echo cc ;;
	"$qemu_cpu:"*) echo "$1" ;;
	*) echo "${guest_cc%gcc}$1" ;;
	esac
}
# The agent (agent/), a static program for the guest's CPU, as FILE. A machine without a compiler for
# that CPU makes guests without an agent.
agent_build() { # FILE
	cc=$(guest_tool gcc)
	command -v "$cc" >/dev/null || {
		say "no agent in it, so no 'lodge exec': $guest_cc is missing: apt-get install $guest_cc_package"
		return 1
	}
	"$cc" -std=gnu17 -Os -static -s -ffunction-sections -fdata-sections -Wl,--gc-sections \
		-Wl,--build-id=none "$here"/agent/*.c -o "$1" || die "the agent does not compile"
}
initramfs_pack() { # DIR FILE: everything root's, no times, so equal inputs make equal bytes
	find "$1" -exec touch -h -d @0 {} +
	(cd "$1" && find . | sort | cpio --quiet -o -H newc -R 0:0 --reproducible) >"$2"
}
