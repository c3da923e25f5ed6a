# NX_PLUGIN(name, kind, [requirement], [package]): a plugin that is a module of its own (dl), in the library (yes), or
# left out (no). The requirement is shell code that sets nx_why (what is missing, and the package to install) if it can't
# be built. The package is what pkg-config names to who links a static library that has the plugin in it. Gives
# --enable-name, the conditionals NAME_DL and NAME_BUILTIN, and a line of the summary table.
AC_DEFUN([NX_PLUGIN], [
m4_pushdef([nx_id], m4_translit([[$1]], [-], [_]))
m4_pushdef([NX_ID], m4_translit(m4_defn([nx_id]), [a-z], [A-Z]))
AC_ARG_ENABLE([$1],
    AS_HELP_STRING([--enable-$1=dl|yes|no|auto], [the $1 $2: a module, built in, left out [[auto: a module if it can]]]),
    [nx_choice=$enableval], [nx_choice=auto])
nx_why=
$3
nx_dl_why=$nx_why
AS_IF([test "$enable_shared" = no], [nx_dl_why=${nx_why:-modules need shared libraries (--disable-shared was given)}])
AS_CASE([$nx_choice:${nx_why:+no}:${nx_dl_why:+no}],
    [auto:no:*],  [nx_how="no ($nx_why)"],
    [auto::no],   [nx_how="yes (built in: $nx_dl_why)"],
    [auto:*],     [nx_how="dl (module)"],
    [no:*],       [nx_how="no (--disable-$1)"],
    [dl:*:no],    [AC_MSG_ERROR([--enable-$1=dl: $nx_dl_why])],
    [dl:*],       [nx_how="dl (module)"],
    [yes:no:*],   [AC_MSG_ERROR([--enable-$1: $nx_why])],
    [yes:*],      [nx_how="yes (built in)"],
    [AC_MSG_ERROR([--enable-$1: '$nx_choice' is not one of dl, yes, no, auto])])
nx_[]nx_id=$nx_how
AS_CASE([$nx_how], [yes*], [
    nx_builtin_declarations="${nx_builtin_declarations}extern const struct nx_plugin nexus_plugin_[]nx_id;
"
    nx_builtin_entries="$nx_builtin_entries&nexus_plugin_[]nx_id, "
    nx_requires_private="$nx_requires_private $4"])
AM_CONDITIONAL(NX_ID[_DL], [test "${nx_how%% *}" = dl])
AM_CONDITIONAL(NX_ID[_BUILTIN], [test "${nx_how%% *}" = yes])
nx_plugin_table="$nx_plugin_table
  $(printf '%-20s %-10s' $1 $2)$nx_how"
m4_popdef([NX_ID])
m4_popdef([nx_id])
])

# NX_PLUGINS_DONE: after the last NX_PLUGIN; makes what libnexus/builtin.c.in needs.
AC_DEFUN([NX_PLUGINS_DONE], [
AC_SUBST([nx_builtin_declarations])
AC_SUBST([nx_builtin_entries])
AC_SUBST([nx_requires_private])
AM_SUBST_NOTMAKE([nx_builtin_declarations])
AM_SUBST_NOTMAKE([nx_builtin_entries])
])
