# NX_FLAG(variable, flag): appends a compiler flag to the variable if the compiler takes it without a word.
AC_DEFUN([NX_FLAG], [
AC_SUBST([$1])
AC_CACHE_CHECK([whether $CC takes $2], [AS_TR_SH([nx_cv_flag_$2])],
    [nx_saved_CFLAGS=$CFLAGS
     CFLAGS="$CFLAGS -Werror $2"
     AC_COMPILE_IFELSE([AC_LANG_PROGRAM], [AS_TR_SH([nx_cv_flag_$2])=yes], [AS_TR_SH([nx_cv_flag_$2])=no])
     CFLAGS=$nx_saved_CFLAGS])
AS_VAR_IF([AS_TR_SH([nx_cv_flag_$2])], [yes], [$1="$[]$1 $2"])
])

# NX_LINK_FLAG(variable, flag): the same for the linker.
AC_DEFUN([NX_LINK_FLAG], [
AC_SUBST([$1])
AC_CACHE_CHECK([whether the linker takes $2], [AS_TR_SH([nx_cv_link_$2])],
    [nx_saved_LDFLAGS=$LDFLAGS
     LDFLAGS="$LDFLAGS $2"
     AC_LINK_IFELSE([AC_LANG_PROGRAM], [AS_TR_SH([nx_cv_link_$2])=yes], [AS_TR_SH([nx_cv_link_$2])=no])
     LDFLAGS=$nx_saved_LDFLAGS])
AS_VAR_IF([AS_TR_SH([nx_cv_link_$2])], [yes], [$1="$[]$1 $2"])
])
