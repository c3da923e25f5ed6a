#!/bin/sh
# libnexus/abi.c, which the compiler checks, misses no struct of the installed headers and no field of one.
set -eu
command -v python3 >/dev/null || { echo "python3 not found (Debian: python3)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/look.py" <<'PYTHON'
import glob, re, sys

def fields(body):
    for declaration in body.split(";"):
        words = " ".join(declaration.split())
        pointer = re.search(r"\(\*(\w+)\)\(", words)
        if pointer:
            yield pointer.group(1)
        elif words:
            for piece in words.split(","):
                yield re.search(r"(\w+)(\[\w+\])?$", piece.strip()).group(1)

written = open(sys.argv[1], encoding="utf-8").read()
count = missing = 0
for path in sorted(glob.glob(sys.argv[2] + "/*.h")):
    text = re.sub(r"/\*.*?\*/", "", open(path, encoding="utf-8").read(), flags=re.S)
    for name, body in re.findall(r"\bstruct (\w+) \{(.*?)\n\}", text, flags=re.S):
        lines = [f"SIZE(struct {name}, "] + [f"AT(struct {name}, {field}, " for field in fields(body)]
        for line in lines:
            count += 1
            if line not in written:
                missing += 1
                print(f"{path}: libnexus/abi.c has no line {line}...)")
print(f"{count} lines looked for")
sys.exit(missing > 0 or count < 300)
PYTHON
status=0
python3 "$work/look.py" "$srcdir/libnexus/abi.c" "$srcdir/libnexus/include/nexus" || status=1

# It would see a new field, a new slot and a new struct.
mkdir "$work/mutant"
for mutant in 's/^    uint32_t flags, aux;/&\n    uint64_t late;/|nx_completion, late' \
    's/^struct nx_stat {/struct nx_late {\n    uint32_t size;\n};\n\n&/|SIZE(struct nx_late' \
    's/^    void (\*forked)(.*/&\n    int (*late)(struct nx_ctx *ctx);/|nx_driver_ops, late'; do
    sed "${mutant%|*}" "$srcdir/libnexus/include/nexus/driver.h" >"$work/mutant/driver.h"
    python3 "$work/look.py" "$srcdir/libnexus/abi.c" "$work/mutant" >"$work/out" || :
    grep -qF "${mutant#*|}" "$work/out" || { echo "not seen: ${mutant#*|}"; status=1; }
done
exit $status
