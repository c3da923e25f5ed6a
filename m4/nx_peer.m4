# NX_PEER(NAME, FOUND, DEBIAN-PACKAGES): notes whether a library that bench/peers measures us against is here.
AC_DEFUN([NX_PEER],
    [AS_IF([test "$2" = yes], [AS_VAR_APPEND([nx_peers], [" $1"])],
        [AS_VAR_APPEND([nx_no_peers], ["; no $1 ($3)"])])])
