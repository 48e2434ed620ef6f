#!/bin/bash
# What a PC guest finds in memory, judged by programs that are not ours: iasl lists each ACPI table
# and makes it again from its listing, without a word of complaint and to the same bytes; acpiexec,
# Intel's interpreter, loads and runs them as a kernel does; dmidecode reads the SMBIOS tables.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
dir=$BUILD/test/acpi
rm -rf "$dir"
mkdir -p "$dir"
passed=0 failed=0
is() { # name status
	if [ "$2" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "failed: $1"
	fi
}

# shellcheck disable=SC2086
${CC:-cc} -O1 -g -std=gnu17 -D_GNU_SOURCE -Isrc "-I$BUILD/gen" -o "$dir/tables" test/acpi/tables.c \
	src/vm/{acpi,aml,pc_acpi,pc_dsdt,pc_map,smbios}.c src/hw/gmem.c src/hw/pagemap.c $(ls src/base/*.c | grep -v _test) -pthread || exit 1
"$dir/tables" "$dir" > "$dir/boards" || exit 1

# The body must come out the same: the header has a checksum and the name of the tool that made it.
# A FACS has no header, and of other tables iasl keeps ours.
same() { cmp -s <(tail -c +37 "$1") <(tail -c +37 "$2"); }

table() { # board folder, signature
	local log=$dir/$1/$2.log
	(
		cd "$dir/$1" || exit 1
		iasl -d "$2.dat" && iasl -we -on "$2.dsl"
	) > "$log" 2>&1
	is "$1: iasl on $2" $?
	# Whatever it complains of, it says so with one of these words.
	! grep -Eiv ' 0 (Errors|Warnings|Remarks)|^Compilation' "$log" |
		grep -Ei '\b(error|warning|remark|invalid|checksum|unknown|truncated|missing)' >&2
	is "$1: complaints of iasl about $2" $?
	same "$dir/$1/$2.dat" "$dir/$1/$2.aml"
	is "$1: $2 made again" $?
}

while read -r name cpus mib; do
	tables=$(cd "$dir/$name" && ls ./*.dat)
	for t in $tables; do
		t=${t#./} && table "$name" "${t%.dat}"
	done
	case $name in
	reduced*) want=4 ;;
	*) want=5 ;;
	esac
	[ "$(echo "$tables" | wc -w)" -ge "$want" ]
	is "$name: number of tables" $?
	what="evaluate \\_S5"
	[ ! -f "$dir/$name/MCFG.dat" ] ||
		what="$what; evaluate \\_SB.PCI0._PRT; evaluate \\_SB.PCI0._CRS"
	[ ! -f "$dir/$name/FACS.dat" ] || what="$what; evaluate \\_PIC 1"
	[ "${name#reduced}" = "$name" ] || what="$what; evaluate \\_SB.GED._EVT 9"
	acpiexec -b "$what" "$dir/$name/DSDT.dat" > "$dir/$name/run.log" 2>&1 < /dev/null &&
		grep -q 'Evaluation of \\_S5 returned object' "$dir/$name/run.log" &&
		! grep -Eq 'AE_|Exception|Warning|Error:' "$dir/$name/run.log"
	is "$name: acpiexec" $?
	[ ! -f "$dir/$name/MCFG.dat" ] || {
		[ "$(grep -c 'Package] Contains 4 Elements' "$dir/$name/run.log")" = 129 ]
		is "$name: _PRT as acpiexec runs it" $?
	}
	dmidecode --from-dump "$dir/$name/smbios.bin" > "$dir/$name/dmi.log" 2>&1
	is "$name: dmidecode" $?
	grep -q '^SMBIOS 3.0.0 present' "$dir/$name/dmi.log" &&
		grep -q "Core Count: $cpus$" "$dir/$name/dmi.log" &&
		grep -q 'UUID: 00112233-4455-6677-8899-aabbccddeeff' "$dir/$name/dmi.log" &&
		grep -q 'Serial Number: web' "$dir/$name/dmi.log" &&
		! grep -Eiq 'bad|invalid|wrong|out of spec|truncated|mismatch|broken' "$dir/$name/dmi.log"
	is "$name: what dmidecode says" $?
	size=$(sed -n '/^Memory Device$/,/^$/s/.*Size: \([0-9]*\) \([MG]B\)$/\1 \2/p' "$dir/$name/dmi.log")
	case $size in
	*GB) size=$((${size% *} * 1024)) ;;
	*) size=${size% *} ;;
	esac
	[ "$size" = "$mib" ]
	is "$name: memory $size MiB of $mib" $?
done < "$dir/boards"
[ $passed -gt 100 ] || is "enough was looked at" 1
echo "$passed passed, $failed failed"
[ $failed = 0 ]
