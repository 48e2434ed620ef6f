#!/bin/bash
# Images of containers to and from files. tar and sha256sum make them here; where podman is, it is asked
# what it makes of ours, and we of its. LODGE is the program.
set -u
LODGE=${LODGE:-$PWD/build/lodge}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work" 2> /dev/null' EXIT
cd "$work" || exit 1
export LODGE_HOME=$work/home
. "$here/common"
digest() { sha256sum "$1" | cut -d' ' -f1; }
blob() { # FILE: a blob of the layout, its digest said
	local d
	d=$(digest "$1")
	cp "$1" "layout/blobs/sha256/$d"
	echo "$d"
}
size() { stat -c %s "$1"; }
json() { echo "$1" > text.json; }

# ---- a layout of two layers, the second takes away ----------------------------------------------
mkdir -p layout/blobs/sha256 one/etc one/bin two/etc
echo old > one/etc/old && echo kept > one/etc/kept && echo '#!/bin/sh' > one/bin/sh && chmod 4755 one/bin/sh
: > two/etc/.wh.old && echo new > two/etc/new
tar -C one -cf one.tar . && tar -C two -cf two.tar . && gzip -kn two.tar
one=$(blob one.tar) two=$(blob two.tar.gz)
json "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"/bin/sh\"]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$one\",\"sha256:$(digest two.tar)\"]}}"
cp text.json config.json
config=$(blob config.json)
layer=application/vnd.oci.image.layer.v1.tar
manifest() { # DIGEST SIZE of the first layer
	json "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:$config\",\"size\":$(size config.json)},\"layers\":[{\"mediaType\":\"$layer\",\"digest\":\"sha256:$1\",\"size\":$2},{\"mediaType\":\"$layer+gzip\",\"digest\":\"sha256:$two\",\"size\":$(size two.tar.gz)}]}"
	m=$(blob text.json)
	json "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:$m\",\"size\":$(size text.json),\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"},\"annotations\":{\"org.opencontainers.image.ref.name\":\"registry.test/team/web:2\"}}]}"
	cp text.json layout/index.json
}
manifest "$one" "$(size one.tar)"
echo '{"imageLayoutVersion":"1.0.0"}' > layout/oci-layout
does web-2 image import layout
does web image import layout web
tree=$LODGE_HOME/trees
is 'a layer is unpacked' [ "$(cat "$tree/$one/etc/old")" = old ]
is 'with its rights' [ "$(stat -c %a "$tree/$one/bin/sh")" = 4755 ]
is 'what another takes away is a device 0:0' [ "$(stat -c '%F %t:%T' "$tree/$(digest two.tar)/etc/old")" = 'character special file 0:0' ]
tar -C layout -cf layout.tar . && gzip -kn layout.tar
does tarred image import layout.tar tarred
does zipped image import layout.tar.gz zipped
gives 125 run --kind vm --kernel out/none --arch amd64 web
is 'its computer has no other kernel, in words' grep -q "a container's" err
is 'its kind is oci' grep -q '"kind": "oci"' <("$LODGE" image inspect --arch amd64 web)

# ---- out and in again -----------------------------------------------------------------------
does '' image export web out.tar
gives 125 image export web out.tar # it is there
does back image import out.tar back
same() { "$LODGE" image inspect --arch amd64 "$1" | grep -E 'sha256|diff'; }
is 'what came back is the same' [ "$(same web)" = "$(same back)" ]
does '' image tag web other
gives 125 image tag web 'Bad Name'
does 'web
other' image rm web other
is 'names share what is there' [ -d "$tree/$one" ]
does 'web-2
tarred
zipped
back' image rm web-2 tarred zipped back
is 'and with the last it goes' [ -z "$(ls "$tree")$(ls "$LODGE_HOME/blobs/sha256")" ]

# ---- what is not as it says is not there ------------------------------------------------------
refused() { # WHY: nothing is left
	gives 125 image import layout bad
	is "$1: in words" grep -q "$2" err
	is "$1: nothing is left" [ -z "$(ls "$tree" "$LODGE_HOME/images" 2> /dev/null | grep -v :)" ]
}
manifest "$one" 7
refused 'a size' size
echo more >> "layout/blobs/sha256/$one"
manifest "$one" "$(size "layout/blobs/sha256/$one")"
refused 'a digest' contents
cp one.tar "layout/blobs/sha256/$one"
wrong=$(blob two.tar)
manifest "$wrong" "$(size two.tar)" # not the layer that the config names
refused 'a diff id' 'not those'
manifest "$one" "$(size one.tar)"
rm "layout/blobs/sha256/$one"
refused 'a file' 'No such file'
ln -s /etc/passwd "layout/blobs/sha256/$one"
refused 'a link' 'leads out'
rm "layout/blobs/sha256/$one" && cp one.tar "layout/blobs/sha256/$one"
for text in '' '{' '[]' '{"manifests":7}' '{"manifests":[{"digest":"md5:1"}]}'; do
	echo "$text" > layout/index.json
	gives 125 image import layout bad
done
mkdir x && (cd x && mkdir deep && tar -cPf ../up.tar --transform 's,^,../,' deep)
gives 125 image import up.tar bad
is 'nothing is above' [ ! -e "$LODGE_HOME/deep" ]
head -c 700 layout.tar.gz > cut.tar.gz
gives 125 image import cut.tar.gz bad
gives 125 image import /dev/null bad
gives 125 image import missing bad
gives 125 image export missing missing.tar
manifest "$one" "$(size one.tar)"

# ---- killed at any moment: either it is there, or nothing is ------------------------------------
for ms in 1 3 6 10 15 25; do
	timeout -s KILL "0.0$(printf %02d "$ms")" "$LODGE" image import layout killed > /dev/null 2>&1
	if "$LODGE" image inspect --arch amd64 killed > /dev/null 2>&1; then
		does '' image export killed "k$ms.tar"
		is 'killed late: all is there' [ "$(tar -tf "k$ms.tar" | wc -l)" = 7 ]
		does killed image rm killed
	fi
done
for _ in 1 2 3 4 5 6 7 8 9 10; do # who was killed may not be gone yet
	"$LODGE" prune --force > /dev/null 2>&1
	[ -n "$(ls "$tree" 2> /dev/null)" ] || break
	sleep 0.5
done
ls -la "$tree" > err
is 'nothing is left behind' [ -z "$(ls "$tree" 2> /dev/null)" ]

# ---- podman as the other side -------------------------------------------------------------------
podman=(podman --root "$work/pod" --runroot "$work/podrun" --storage-driver vfs)
if command -v podman > /dev/null && "${podman[@]}" import --change CMD=/bin/sh one.tar zone:1 > /dev/null 2>&1; then
	for form in oci docker; do
		"${podman[@]}" save -q --format $form-archive -o $form.tar localhost/zone:1 > /dev/null 2>&1
		does $form image import $form.tar $form
		is "podman's $form-archive: its files" [ "$(cat "$tree"/*/etc/kept)" = kept ]
		does '' image export $form ours-$form.tar
		is "podman takes ours ($form)" "${podman[@]}" load -q -i ours-$form.tar
		does $form image rm $form
	done
else
	echo 'SKIPPED: there is no podman that works here'
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ]
