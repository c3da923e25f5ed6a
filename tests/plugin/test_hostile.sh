#!/bin/sh
# What an environment or a folder of plugins may be, at its worst: `nexus info` ends soon, never by a signal, and its
# sentence has the cause and what to do. What only the loader sees is tests/unit/test_loader.c's. Output: TAP.
. "$srcdir/tests/plugin/lib.sh"
mkdir "$folder/good"
cp "$samples" "$folder/good/better.so"
cp "$samples" "$folder/good/fair.so"
chmod 755 "$folder/good" "$folder"/good/*
export NEXUS_PLUGIN_PATH="$folder/good" NEXUS_BACKEND=better NEXUS_SCHED=fair

run 0 info
claim good_ones_are_chosen '^backend +better +.* chosen '

# ---- the file ----
bad=$folder/bad
mkdir "$bad"
# refused CASE PATTERN FILE: by its path, by its name in a directory, and by a link to it
refused() {
    NEXUS_BACKEND=$3 run 1 info
    claim "$1_by_path" "$2"
    NEXUS_PLUGIN_PATH=${3%/*} NEXUS_BACKEND=better run 1 info
    claim "$1_by_name" "$2"
    rm -rf "$folder/links"
    mkdir "$folder/links"
    ln -s "$3" "$folder/links/better.so"
    NEXUS_BACKEND=$folder/links/better.so run 1 info
    claim "$1_by_a_link" "$2"
    NEXUS_PLUGIN_PATH=$folder/good:${3%/*} run 0 info --why # and in the way of nobody who did not ask for it
    claim "$1_in_a_later_directory"
    rm -rf "$3"
}
file=$bad/better.so
mkdir "$file"
refused directory 'it is a directory, not a regular file: name the plugin' "$file"
mkfifo "$file"
refused fifo 'it is a FIFO, not a regular file: name the plugin' "$file"
: >"$file"
refused empty 'it is no shared object: it has only 0 bytes: install it again' "$file"
size=$(wc -c <"$samples")
for length in 1 63 64 200 4096 $((size / 2)) $((size - 1)); do
    head -c "$length" "$samples" >"$file"
    chmod 755 "$file"
    case $length in
    $((size / 2))) at=half ;;
    $((size - 1))) at=the_last_byte ;;
    *) at=$length ;;
    esac
    refused "truncated_at_$at" \
        'it (is no shared object: it has only|is truncated).*: install it again' "$file"
done
cp "$samples" "$file"
printf '\003\000' | dd of="$file" bs=1 seek=18 conv=notrunc 2>/dev/null # EM_386
refused other_machine \
    'it was built for 32-bit x86 \(ELF machine 3\), this program for .*: rebuild it for this machine' "$file"
echo '#!/bin/sh' >"$file"
refused script 'it is no shared object: ' "$file"
cp "$samples" "$file"
chmod 757 "$file"
refused writable_file 'not trusted: others can write to it \(chmod go-w .*better\.so\)' "$file"
cp "$samples" "$file"
chmod 755 "$file"
chmod 777 "$bad"
refused writable_folder "not trusted: others can write to the directory $bad \(chmod go-w\)" "$file"
mkdir -p "$bad/inner"
cp "$samples" "$bad/inner/better.so"
refused writable_folder_above \
    "not trusted: others can write to the directory $bad \(chmod go-w\)" "$bad/inner/better.so"
chmod 755 "$bad"
ln -s better.so "$file"
NEXUS_BACKEND=$file run 1 info
claim a_link_to_itself 'symbolic links'
rm "$file"
NEXUS_BACKEND=/dev/zero run 1 info
claim a_device 'it is a device, not a regular file: name the plugin'
NEXUS_BACKEND=/proc/self/mem run 1 info
claim what_is_no_plugin '(it is|no plugin can)'

# Rights: as a user without any.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && setpriv --reuid=65534 --clear-groups test -x "$nexus"; then
    as_nobody() {
        wanted=$1
        out=$(setpriv --reuid=65534 --clear-groups timeout -k 1 20 "$nexus" info 2>"$folder/stderr" </dev/null)
        got=$?
        err=$(cat "$folder/stderr")
    }
    as_nobody 0
    claim nobody_may_use_what_is_roots '^backend +better +.* chosen '
    cp "$samples" "$file"
    chmod 700 "$file"
    NEXUS_BACKEND=$file as_nobody 1
    claim an_unreadable_file 'open\(2\): Permission denied: this user needs the right .* to read it \(chmod\)'
    chmod 755 "$file"
    chmod 700 "$bad"
    NEXUS_BACKEND=$file as_nobody 1
    claim an_unsearchable_folder 'Permission denied: this user needs the right to search its directories'
    chmod 755 "$bad"
    chown 65533 "$file"
    NEXUS_BACKEND=$file as_nobody 1
    claim a_strangers_file 'belongs to user 65533, neither root nor this user \(65534\): chown it, or use a copy'
    NEXUS_BACKEND=$file run 1 info
    claim a_strangers_file_even_for_root 'belongs to user 65533, neither root nor this user \(0\)'
    chown 0 "$file"
    chown 65533 "$bad"
    NEXUS_BACKEND=$file as_nobody 1
    claim a_strangers_folder "the directory $bad belongs to user 65533"
    chown 0 "$bad"
    chmod 1777 "$bad"
    setpriv --reuid=65533 --clear-groups ln -s "$folder/good/better.so" "$bad/theirs.so"
    NEXUS_BACKEND=$bad/theirs.so as_nobody 1
    claim a_strangers_link_in_a_sticky_folder "the link $bad/theirs.so belongs to user 65533"
    chmod 755 "$bad"
    rm -f "$file"
else
    cases=$((cases + 1))
    echo "ok $cases - rights_of_files # SKIP not root, or $nexus is out of reach for others, or no setpriv (util-linux)"
fi

# ---- the path ----
cd "$folder/good" || exit 1
for path in better.so ./better.so ../good/better.so good/../better.so; do
    NEXUS_BACKEND=$path run 1 info
    claim "relative_$(echo "$path" | tr '/.' '__')" "absolute path"
done
NEXUS_BACKEND=$folder/bad/../good/better.so run 0 info
claim up_and_down_again '^backend +better +.* chosen '
chmod 777 "$bad"
NEXUS_BACKEND=$folder/bad/../good/better.so run 1 info
claim up_again_from_where_others_can_write "others can write to the directory $bad "
chmod 755 "$bad"
for path in . .. ./x relative "$folder/good:." "$folder/good:relative" ":./" "$folder/x:../good"; do
    NEXUS_PLUGIN_PATH=$path run 1 info
    claim "plugin_path_with_a_relative_directory_$((cases + 1))" \
        'NEXUS_PLUGIN_PATH: .* begins with a relative path: directories must be absolute'
done
# Empty pieces are not the current directory, which has good plugins in it.
for path in : :: "$bad:" ":$bad" "$bad::$bad"; do
    NEXUS_PLUGIN_PATH=$path run 1 info
    claim "plugin_path_with_nothing_between_$((cases + 1))" "there is no backend 'better'"
done
mkdir "$folder/a:b"
cp "$samples" "$folder/a:b/better.so"
NEXUS_PLUGIN_PATH=$folder/a:b run 1 info
claim a_directory_with_a_colon_is_two "'b' begins with a relative path"
NEXUS_PLUGIN_PATH=$folder/a:/b run 1 info
claim a_directory_with_a_colon_is_not_one "there is no backend 'better'"
NEXUS_BACKEND=$folder/a:b/better.so run 1 info
claim a_file_with_a_colon "is not key=value; a path can't contain"
for name in 'a b' 'better%2e' 'better;x' '$(x)' 'better
x'; do
    NEXUS_BACKEND=$name run 1 info
    claim "name_with_other_characters_$((cases + 1))" "NEXUS_BACKEND"
done
cd / || exit 1

# ---- long and ugly values ----
long=$(head -c 65536 /dev/zero | tr '\0' x)
many=$(head -c 32768 /dev/zero | sed 's/\x00/x,/g')
path=$(head -c 65535 /dev/zero | tr '\0' /)
colons=$(head -c 65536 /dev/zero | tr '\0' :)
digits=$(head -c 65536 /dev/zero | tr '\0' 9)
# A variable's value of 64 KiB: an error that names the variable, of a length that can be read. What `nexus info` does
# not read, a program does.
program=$NXT_BUILD/examples/hello
names=$("$nexus" info --env | sed -n 's/^\(NEXUS_[A-Z_]*\) .*/\1/p')
[ "$(echo "$names" | wc -w)" -ge 11 ] || { echo "not ok - variables are listed"; exit 1; }
# with NAME=VALUE: what reads that variable
with() {
    case $1 in
    NEXUS_BACKEND=* | NEXUS_BACKEND_NET=* | NEXUS_SCHED=* | NEXUS_PLUGIN_PATH=*)
        env "$1" timeout -k 1 20 "$nexus" info >"$folder/stdout" 2>"$folder/stderr" </dev/null ;;
    *)
        env -u NEXUS_BACKEND -u NEXUS_SCHED NEXUS_PLUGIN_PATH="$NXT_BUILD/backends/.libs:$NXT_BUILD/sched/.libs" \
            "$1" timeout -k 1 20 "$program" >"$folder/stdout" 2>"$folder/stderr" </dev/null ;;
    esac
    got=$?
    out=$(cat "$folder/stdout") err=$(cat "$folder/stderr")
    wanted=$got # 1, or what the program makes of an error
    [ $got -gt 0 ] && [ $got -lt 124 ] || wanted=an_error
}
for variable in $names; do
    for value in "$long" "$many" "$path" "$colons" "$digits"; do
        with "$variable=$value"
        [ "$(wc -c <"$folder/stderr")" -lt 4096 ] || wanted="a short sentence"
        claim "64k_of_$(printf %.2s "$value")_in_$variable" "$variable"
    done
done
escape=$(printf '\033[31m')
for variable in $names; do
    with "$variable=${escape}x"
    case $out$err in
    *"$escape"*) wanted="no escape sequence on the terminal" ;;
    esac
    claim "an_escape_sequence_in_$variable" "$variable"
    case $("$nexus" info --env --why 2>&1) in
    *"$escape"*) wanted="no escape sequence on the terminal" ;;
    esac
    claim "an_escape_sequence_in_${variable}_as_info_shows_it"
done
echo "1..$cases"
