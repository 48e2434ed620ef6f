#!/bin/bash
# What the table decodes and prints, against objdump: 20,000 random examples of every line, all
# 16-bit words, a million random 32-bit ones. binutils 2.40 lacks some extensions (list in
# decode_check.c); for those the second opinion is llvm-objdump 19 where it is installed, else a
# list of its answers that is kept here.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build} COUNT=${COUNT:-20000} SEED=${SEED:-$RANDOM$RANDOM}
dir=$BUILD/test/decode
mkdir -p "$dir"
make -s BUILD="$BUILD" "$BUILD/gen/isa/rv64/rv64."{enum,decode,info}.inc || exit 1
${CC:-cc} -O1 -g -std=gnu17 -D_GNU_SOURCE -Isrc "-I$BUILD/gen" -o "$dir/check" \
	test/isa/decode_check.c src/isa/rv64/{decode,encode,format,info}.c || exit 1
echo "seed $SEED (SEED=$SEED repeats this run)"

passed=0 failed=0
sum() { # name log status
	echo "$1: $(tail -n 1 "$2")"
	sed '$d' "$2"
	if [[ $(tail -n 1 "$2") =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
		passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
		[ "$3" = 0 ] || [ "${BASH_REMATCH[2]}" != 0 ] || failed=$((failed + 1))
	else
		failed=$((failed + 1))
	fi
}

# objdump knows which extensions to allow only from an object file's attributes.
march=rv64gc_zihintpause_zawrs_zfh_zba_zbb_zbc_zbs_zicbom_zicbop_zicboz_svinval
"$dir/check" make own "$SEED" "$COUNT" > "$dir/own.bin"
echo ".incbin \"$dir/own.bin\"" | riscv64-linux-gnu-as -march=$march -o "$dir/own.o" - &&
	riscv64-linux-gnu-strip "$dir/own.o"
riscv64-linux-gnu-objdump -d -M no-aliases "$dir/own.o" | "$dir/check" compare own > "$dir/own.log"
sum objdump "$dir/own.log" $?
rm -f "$dir"/own.{bin,o}

list=test/isa/decode_young.txt
if [ -z "${NO_LLVM:-}" ] && command -v llvm-objdump-19 llvm-mc-19 > /dev/null; then
	mattr=+m,+a,+f,+d,+c,+zfa,+zfh,+zicond,+zcb,+zba,+zbb
	"$dir/check" make other "$SEED" "$COUNT" > "$dir/other.bin"
	echo ".incbin \"$dir/other.bin\"" |
		llvm-mc-19 -triple riscv64 -mattr=$mattr -filetype=obj -o "$dir/other.o"
	llvm-strip-19 "$dir/other.o"
	dump() { llvm-objdump-19 -d -M no-aliases --print-imm-hex=false --mattr=$mattr "$dir/other.o"; }
	[ -z "${BLESS:-}" ] || dump > $list
	dump | "$dir/check" compare other > "$dir/other.log"
	sum llvm-objdump "$dir/other.log" $?
	rm -f "$dir"/other.{bin,o}
else
	echo "no llvm-objdump-19 here: Zfa, Zicond and Zcb are compared with $list only"
	"$dir/check" compare other < $list > "$dir/other.log"
	sum list "$dir/other.log" $?
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
