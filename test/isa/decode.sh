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
march=rv64gcv_zihintpause_zawrs_zfh_zba_zbb_zbc_zbs_zicbom_zicbop_zicboz_svinval
"$dir/check" make own "$SEED" "$COUNT" > "$dir/own.bin"
echo ".incbin \"$dir/own.bin\"" | riscv64-linux-gnu-as -march=$march -o "$dir/own.o" - &&
	riscv64-linux-gnu-strip "$dir/own.o"
riscv64-linux-gnu-objdump -dz -M no-aliases "$dir/own.o" | "$dir/check" compare own > "$dir/own.log"
sum objdump "$dir/own.log" $?
rm -f "$dir"/own.{bin,o}

# Compressed instructions against the ones that the table says they stand for: objdump, left to its
# habits, prints both alike. It has its own names for HINTs (c.*) and two for a move.
"$dir/check" pairs "$dir/short.bin" "$dir/full.bin"
for n in short full; do
	echo ".incbin \"$dir/$n.bin\"" | riscv64-linux-gnu-as -march=rv64gc -o "$dir/$n.o" - &&
		riscv64-linux-gnu-strip "$dir/$n.o"
	riscv64-linux-gnu-objdump -dz "$dir/$n.o" |
		sed -n 's/^ *[0-9a-f]*[048c]:\t[0-9a-f]* *\t//p' |
		sed 's/[ \t]*[#<].*//; s/^add\t\([^,]*\),zero,/mv\t\1,/; s/^add\t\(.*\),0$/mv\t\1/' \
			> "$dir/$n.txt"
done
paste -d'|' "$dir/short.txt" "$dir/full.txt" | awk -F'|' '
	/^c\./ { hints++; next }
	$1 == $2 { passed++; next }
	{ failed++; print "compressed " $1 " became " $2 }
	END { print "not compared: " hints + 0 ", HINTs"; print passed + 0 " words compared"
		bad = failed || passed < 45000
		print 1 - bad " passed, " bad + 0 " failed" }' > "$dir/pairs.log"
sum compressed "$dir/pairs.log" $?
rm -f "$dir"/{short,full}.{bin,o}

list=test/isa/decode_young.txt
if [ -z "${NO_LLVM:-}" ] && command -v llvm-objdump-19 llvm-mc-19 > /dev/null; then
	mattr=+m,+a,+f,+d,+c,+v,+zfa,+zfh,+zicond,+zcb,+zba,+zbb,+zvbb,+zimop,+zcmop
	"$dir/check" make other "$SEED" "$COUNT" > "$dir/other.bin"
	echo ".incbin \"$dir/other.bin\"" |
		llvm-mc-19 -triple riscv64 -mattr=$mattr -filetype=obj -o "$dir/other.o"
	llvm-strip-19 "$dir/other.o"
	dump() { llvm-objdump-19 -dz -M no-aliases --print-imm-hex=false --mattr=$mattr "$dir/other.o"; }
	[ -z "${BLESS:-}" ] || dump > $list
	dump | "$dir/check" compare other > "$dir/other.log"
	sum llvm-objdump "$dir/other.log" $?
	rm -f "$dir"/other.{bin,o}
else
	echo "no llvm-objdump-19 here: extensions that objdump lacks are compared with $list only"
	"$dir/check" compare other < $list > "$dir/other.log"
	sum list "$dir/other.log" $?
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
