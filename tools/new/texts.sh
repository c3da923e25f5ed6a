#!/bin/sh
# texts.sh FOLDER FILE...: the files, as an array of C strings on standard output. In the sources of examples/plugins/
# the plugin's name, which is in two places, becomes @symbol@ and @name@.
set -eu
cd "$1"
shift
echo '/* Made by tools/new/texts.sh of the files that are named below. */'
echo '#include "new.h"'
echo 'const struct nexus_text nexus_texts[] = {'
for file; do
    name=${file##*/}
    case $file in
    *.c)
        word=${name%.c}
        symbols=$(grep -c "nexus_plugin_$word = {\$" "$file") || :
        names=$(grep -c "\.name = \"$word\",\$" "$file") || :
        if [ "$symbols,$names" != 1,1 ]; then
            echo "texts.sh: $file must have one line 'nexus_plugin_$word = {' and one '.name = \"$word\",'" >&2
            exit 1
        fi
        substitute="s/nexus_plugin_$word = {\$/nexus_plugin_@symbol@ = {/; s/\.name = \"$word\",\$/.name = \"@name@\",/"
        ;;
    *) substitute= ;;
    esac
    echo "    {\"$name\","
    sed -e "$substitute" -e 's/\\/\\\\/g; s/"/\\"/g; s/.*/     "&\\n"/' "$file"
    echo '    },'
done
echo '    {0},'
echo '};'
