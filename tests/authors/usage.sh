#!/bin/sh
# nexus new: the names it takes and refuses, each refusal with cause and remedy; that it leaves nothing half-written.
. "$srcdir/tests/authors/lib.sh"
cd "$work" || exit 1
mkdir here && cd here || exit 1

# says STATUS PATTERN ARGUMENT...: that exit status, and a line like the pattern
says() {
    status=$1 pattern=$2
    shift 2
    "$nexus" new "$@" >"$work/said" 2>&1
    got=$?
    cat "$work/said"
    [ $got = "$status" ] || { echo "status $got, not $status"; return 1; }
    grep -q -e "$pattern" "$work/said" || { echo "no line is like '$pattern'"; return 1; }
}
# refused PATTERN ARGUMENT...: status 2, a sentence with a remedy behind ';', and no folder
refused() { says 2 "$@" && is '' "$(ls -A)"; }
claim an_empty_name_is_refused refused "it is empty; give one" driver ''
claim a_long_name_is_refused refused 'longer than 63 characters; take' driver "$(printf 'a%.0s' $(seq 64))"
claim auto_is_no_name refused 'the automatic choice; take' scheduler auto
claim a_name_begins_with_a_letter refused 'not begin with a letter; put' driver 9p
claim an_option_is_no_name refused 'not begin with a letter; put' driver -- -x
claim a_path_is_no_name refused "letters, digits, '_' and '-' may be in it; leave" driver a/b
claim a_folder_above_is_no_name refused 'not begin with a letter' driver ../b
claim a_blank_is_no_name refused 'may be in it; leave' scheduler 'a b'
claim a_file_name_is_no_name refused 'may be in it; leave' driver mine.so
claim lib_belongs_to_files refused "'lib' in front .*; leave it out" driver libmine
claim an_alias_is_refused refused "'io_uring' is another name of iouring; take" driver io_uring
claim a_kind_that_is_none refused "did you mean 'driver'" drivre mine
claim another_kind_that_is_none refused 'write driver or scheduler' thing mine
claim nothing_named refused 'name a kind, driver or scheduler, and the plugin'
claim no_name refused 'name the plugin, too' driver
claim two_names refused 'name one plugin' driver a b
claim an_option_that_is_none refused "did you mean '--help'" --hepl
claim help_is_help says 0 '^usage: nexus new driver NAME$' --help

claim a_folder_is_written says 0 '^    cd mine && ./bootstrap && ./configure && make check$' driver mine
claim these_files_are_in_it is \
    '.ci .ci/run .gitignore Makefile.am README.md bootstrap configure.ac conform.sh info.sh mine.c' \
    "$(cd mine && find . -mindepth 1 | sed 's/^..//' | LC_ALL=C sort | tr '\n' ' ' | sed 's/ $//')"
filled_in() {
    ! grep -rn '@[a-z]*@' "$1" && grep -q "const struct nx_plugin nexus_plugin_$2 = {" "$1/$1.c" &&
        grep -q "\.name = \"$1\"," "$1/$1.c" && [ -x "$1/bootstrap" ] && [ -x "$1/.ci/run" ]
}
claim every_word_is_filled_in filled_in mine mine
claim a_scheduler_too says 0 'has a scheduler' scheduler My-fair_1
claim its_symbol_has_no_hyphen filled_in My-fair_1 My_fair_1

# The text is that of the examples, but for the name.
same_but_for_the_name() {
    example=$srcdir/examples/plugins/$1.c
    sed "s/nexus_plugin_$1 = {/nexus_plugin_$3 = {/; s/\.name = \"$1\"/.name = \"$2\"/" "$example" |
        diff - "$2/$2.c" && ! cmp -s "$example" "$2/$2.c"
}
claim its_driver_is_the_example same_but_for_the_name poll mine mine
claim its_scheduler_is_the_example same_but_for_the_name edf My-fair_1 My_fair_1
claim nobody_else_can_write_to_it is '' "$(umask 0 && "$nexus" new driver open >/dev/null && find open -perm /022)"

mkdir others && chmod 777 others && cd others || exit 1
claim a_folder_from_which_nothing_is_loaded_is_told says 0 \
    'will load no plugin from here, .* others can write to the directory .*/others (chmod go-w)' driver mine
cd .. || exit 1

# What is there stays as it is.
rm -r mine && mkdir mine && echo text >mine/file
claim a_folder_that_is_there_is_refused says 1 "'mine' is here already; remove it, take another name" driver mine
claim and_is_left_as_it_is is text "$(cat mine/* && ls -A mine | sed '/^file$/d')"
echo text >taken
claim a_file_that_is_there_is_refused says 1 "'taken' is here already; " driver taken
claim and_is_left_as_it_was is text "$(cat taken)"

# A disk that is full after some files: none may be larger than 4 blocks here, and the plugin is.
full() {
    trap '' XFSZ
    ulimit -f 4
    says 1 "can't write 'large': .*; nothing is left of it. Make room" driver large
}
claim a_write_that_fails_is_told full
claim and_leaves_nothing [ ! -e large ]
killed() {
    (ulimit -f 4 && exec "$nexus" new driver large) && return 1
    [ ! -e large ]
}
claim nor_does_one_that_is_killed_by_a_signal killed
if [ "$(id -u)" != 0 ]; then
    mkdir closed && chmod 555 closed && cd closed || exit 1
    claim a_folder_that_cannot_be_made says 1 "Permission denied; call this in a folder that you can write to" driver x
fi
echo "1..$cases"
