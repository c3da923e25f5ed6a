/* Which files are trusted to become code of this process. */
#ifndef NXI_TRUST_H
#define NXI_TRUST_H

#include <stddef.h>
#include <sys/stat.h>

/*
 * The descriptor of the regular file at an absolute path, and the path without links that it was reached by, in
 * PATH_MAX bytes. Trusted is what belongs to root, to this user or to who could change the program anyway, and can be
 * written by nobody else: the file, each symbolic link that leads to it, and every directory that is passed on the way.
 * -ENOENT, -EACCES (not trusted), -ELOOP and what else open(2) says, with a sentence that has no final stop: the cause,
 * and what to do about it.
 */
int nxi_trust_open(const char *path, char *ret_canonical, struct stat *ret_st, char *error, size_t error_size);

#endif
