# NX_SANITIZE: --with-sanitizer=LIST, checked, into NX_SANITIZE_FLAGS (for compiling and linking); nx_sanitizer is the
# list, or none. What can't be had together, or doesn't link here, is an error.
AC_DEFUN([NX_SANITIZE], [
AC_ARG_WITH([sanitizer], AS_HELP_STRING([--with-sanitizer=LIST], [address, undefined, or both; or thread]),
    [nx_sanitizer=$withval], [nx_sanitizer=none])
AS_IF([test "x$nx_sanitizer" = xno], [nx_sanitizer=none])
NX_SANITIZE_FLAGS=
AC_SUBST([NX_SANITIZE_FLAGS])
AS_IF([test "x$nx_sanitizer" != xnone], [
    for nx_one in $(AS_ECHO(["$nx_sanitizer"]) | tr , ' '); do
        AS_CASE([$nx_one], [address|undefined|thread], [],
            [AC_MSG_ERROR([--with-sanitizer: unknown sanitizer '$nx_one'; it can be address,undefined or thread])])
    done
    AS_CASE([",$nx_sanitizer,"],
        [*,thread,*,*|*,*,thread,*], [AC_MSG_ERROR([--with-sanitizer: thread can't be had together with another])])
    NX_SANITIZE_FLAGS="-fsanitize=$nx_sanitizer -fno-sanitize-recover=all -fno-omit-frame-pointer"
    AC_MSG_CHECKING([whether $CC can link with -fsanitize=$nx_sanitizer])
    nx_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $NX_SANITIZE_FLAGS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM], [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no])
         AC_MSG_ERROR([$CC can't link with -fsanitize=$nx_sanitizer (Debian, for clang: libclang-rt-14-dev)])])
    CFLAGS=$nx_saved_CFLAGS
])
])
