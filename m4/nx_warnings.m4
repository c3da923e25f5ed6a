# NX_WARNINGS: the warning set, in NX_WARN; --enable-strict makes them errors.
AC_DEFUN([NX_WARNINGS], [
AC_ARG_ENABLE([strict], AS_HELP_STRING([--enable-strict], [warnings are errors]), [], [enable_strict=no])
m4_foreach_w([nx_flag], [-Wall -Wextra -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wundef -Wvla],
    [NX_FLAG([NX_WARN], m4_defn([nx_flag]))])
AS_VAR_IF([enable_strict], [yes], [NX_WARN="$NX_WARN -Werror"])
])
