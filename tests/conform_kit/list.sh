#!/bin/sh
# The requirements in nexus-driver(7) and nexus-sched(7) are word for word those that nexus conform --list prints.
set -eu
nexus=$NXT_BUILD/tools/nexus
[ -x "$nexus" ] || { echo "$nexus is not built (--disable-tools)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One requirement a line, one blank between words; of a page, its section's list without what is markup.
lines() {
    tr '\n' ' ' | sed 's/  */ /g; s/ \(NX[DS]-[0-9]* \)/\n\1/g' | sed 's/ *$//' | grep '^NX'
}
for page in nexus-driver nexus-sched; do
    sed -n '/^\.Sh REQUIREMENTS/,/^\.El/p' "$srcdir/doc/man/$page.7" | sed -n '/^\.Bl/,$p' |
        sed -e '/^\.\(Bl\|El\|Pp\)/d' -e 's/^\.It Sy "\(.*\)"$/ \1/' -e 's/^\.Em \(.*\) :$/\1:/' \
            -e 's/\\-/-/g' -e 's/^\\&//' | sed '1i\ ' | lines
done >"$work/pages"
{ echo; "$nexus" conform --list; } | lines >"$work/list"
[ "$(wc -l <"$work/list")" -gt 50 ] || { echo "the list has only $(wc -l <"$work/list") lines"; exit 1; }
diff -u "$work/pages" "$work/list"
