#!/bin/bash
# The command line from outside: words, exit codes, what is left behind when things go wrong.
# LODGE is the program; needs no network and no image.
set -u
LODGE=${LODGE:-$PWD/build/lodge}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export LODGE_HOME=$work/home LODGE_CACHE=$work/cache
passed=0 failed=0

ok() { passed=$((passed + 1)); }
bad() {
	failed=$((failed + 1))
	echo "FAILED: $*"
	sed 's/^/    /' err 2> /dev/null | head -n 5
}
is() { # WHAT CONDITION...
	local what=$1
	shift
	if "$@"; then ok; else bad "$what"; fi
}
# refuses WORDS ARG...: exit code 125, one line on stderr (and where to look) that holds WORDS
refuses() {
	local words=$1
	shift
	timeout 30 "$LODGE" "$@" > out 2> err < /dev/null
	is "$*: exit code" [ $? = 125 ]
	is "$*: says '$words'" grep -qF -- "$words" err
	is "$*: one sentence" [ "$(grep -vc '^See ' err)" = 1 ]
	is "$*: begins with lodge:" [ "$(head -c 7 err)" = 'lodge: ' ]
}
says() { # WORDS ARG...: exit code 0 and WORDS on stdout
	local words=$1
	shift
	"$LODGE" "$@" > out 2> err < /dev/null
	is "$*: exit code" [ $? = 0 ]
	is "$*: says '$words'" grep -qF -- "$words" out
	is "$*: quiet" [ ! -s err ]
}

says 'Usage: lodge COMMAND'
says 'Usage: lodge COMMAND' --help
says 'Usage: lodge run' run --help
says 'Usage: lodge run' help run
says 'Usage: lodge image build' help image build
says 'lodge ' --version
says 'lodge ' version
says 'NAME' image ls
refuses "did you mean 'run'?" rnu
refuses "did you mean 'image'?" imgae ls
refuses "did you mean 'image build'?" image bulid
refuses 'image: which of' image
refuses "did you mean '--memory'?" run --memroy 1G
refuses '--memory needs a value' run --memory
refuses 'is not a size' run -m lots
refuses 'did you mean 512M?' run -m 512 --kernel x
refuses '--cpus: 0 is not within' run -c 0
refuses 'unknown CPU' run --arch pdp11
refuses 'not implemented yet' run -d
refuses 'is not a name' run --name ../x --kernel x
refuses '--publish needs a network' run --net none -p 1:2
refuses 'a port is a number' run --kernel x -p 70000:1
refuses 'neither user nor none' run --net lan
refuses 'no event matches' --trace 'nothing*' image ls
refuses 'try: lodge image build' run nosuchimage
refuses "no recipe for an image 'nosuch'" image build nosuch
refuses 'image nosuch' image rm nosuch

# wrong and damaged files
head -c 4096 /dev/zero > zeros
: > empty
truncate -s 3G huge
refuses 'nope: No such file' run --kernel nope
refuses 'empty' run --kernel empty
refuses 'zeros' run --kernel zeros
refuses 'made for' run --kernel "$LODGE"
refuses 'not a file' run --kernel /tmp
refuses 'nope' run --firmware nope
is 'nothing is left behind' [ -z "$(ls -A "$LODGE_HOME/guests" 2> /dev/null | grep -v '^\.')" ]
refuses 'nope' run --name web --kernel nope
is 'no folder of a guest that never ran' [ ! -e "$LODGE_HOME/guests/web" ]

# where nothing can be written
"$LODGE" help > /dev/full 2> err
is 'full standard output: exit code' [ $? = 125 ]
is 'full standard output: words' grep -q 'No space left' err
LODGE_HOME=/proc/nowhere refuses '/proc/nowhere' image ls
LODGE_HOME=/dev/null/x refuses '/dev/null' image ls

# an image of our own, put there by hand: two processes at once, names that collide
mkdir -p "$LODGE_HOME"
for i in 1 2 3 4 5 6; do "$LODGE" image ls > "ls.$i" 2>&1 & done
wait
is 'six at once' [ "$(cat ls.* | sort -u | wc -l)" = 1 ]

# completion and manual pages come from the same tables
"$LODGE" completion bash > completion
is 'completion parses' bash -n completion
complete_words() { # WORD... -> what completes the last
	bash -c '. ./completion; PATH=$1:$PATH; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_lodge; echo "${COMPREPLY[*]}"' - "$(dirname "$LODGE")" "$@"
}
is 'completes commands' [ "$(complete_words lodge ru)" = run ]
is 'completes second words' [ "$(complete_words lodge image bu)" = build ]
is 'completes options' [ "$(complete_words lodge run --mem)" = --memory ]
is 'completes choices' [ "$(complete_words lodge run --net us)" = user ]
mkdir man
is 'writes manual pages' sh -c "cd man && '$LODGE' help --man"
is 'a page a command' [ -s man/lodge-run.1 -a -s man/lodge-image-build.1 -a -s man/lodge.1 ]
if command -v mandoc > /dev/null; then
	is 'manual pages are correct' [ -z "$(mandoc -Tlint -Wwarning man/*.1 | grep -v 'missing date')" ]
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ]
