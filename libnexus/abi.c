/*
 * abi.c: the layout of every ABI struct, on 64-bit machines, written down. A line here that has to change is a break
 * of the ABI; new fields go to the end, and get new lines.
 */
#include "core.h"
#include <nexus/readiness.h>

#if defined(__LP64__)

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "ABI: size of " #type)
#define CODE(name, value) _Static_assert((name) == (value), #name " is not what it was")
#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), "ABI: " #type "." #field)

/* clang-format off */
SIZE(struct nx_param, 32);
AT(struct nx_param, name, 0);
AT(struct nx_param, type, 8);
AT(struct nx_param, default_value, 16);
AT(struct nx_param, help, 24);
SIZE(struct nx_plugin, 72);
AT(struct nx_plugin, magic, 0);
AT(struct nx_plugin, size, 4);
AT(struct nx_plugin, abi_major, 8);
AT(struct nx_plugin, abi_minor, 10);
AT(struct nx_plugin, kind, 12);
AT(struct nx_plugin, name, 16);
AT(struct nx_plugin, version, 24);
AT(struct nx_plugin, summary, 32);
AT(struct nx_plugin, priority, 40);
AT(struct nx_plugin, params, 48);
AT(struct nx_plugin, probe, 56);
AT(struct nx_plugin, ops, 64);
SIZE(struct nx_reason, 456);
AT(struct nx_reason, error, 0);
AT(struct nx_reason, call, 8);
AT(struct nx_reason, text, 72);
AT(struct nx_reason, remedy, 264);
SIZE(struct nx_host, 72);
AT(struct nx_host, size, 0);
AT(struct nx_host, now, 8);
AT(struct nx_host, random, 16);
AT(struct nx_host, alloc, 24);
AT(struct nx_host, free, 32);
AT(struct nx_host, log, 40);
AT(struct nx_host, param, 48);
AT(struct nx_host, defer_blocking, 56);
AT(struct nx_host, wake_worker, 64);
SIZE(struct nx_addr, 128);
AT(struct nx_addr, len, 0);
AT(struct nx_addr, family, 2);
AT(struct nx_addr, port, 4);
AT(struct nx_addr, scope, 8);
AT(struct nx_addr, data, 12);
SIZE(struct nx_op, 64);
AT(struct nx_op, handle, 0);
AT(struct nx_op, code, 8);
AT(struct nx_op, flags, 10);
AT(struct nx_op, len, 12);
AT(struct nx_op, data, 16);
AT(struct nx_op, offset, 24);
AT(struct nx_op, arg, 32);
AT(struct nx_op, driver, 40);
SIZE(struct nx_completion, 32);
AT(struct nx_completion, op, 0);
AT(struct nx_completion, result, 8);
AT(struct nx_completion, data, 16);
AT(struct nx_completion, flags, 24);
AT(struct nx_completion, aux, 28);
SIZE(struct nx_message, 40);
AT(struct nx_message, iov, 0);
AT(struct nx_message, iov_count, 8);
AT(struct nx_message, flags, 12);
AT(struct nx_message, addr, 16);
AT(struct nx_message, fds, 24);
AT(struct nx_message, fd_count, 32);
AT(struct nx_message, reserved, 36);
SIZE(struct nx_capability, 144);
AT(struct nx_capability, level, 4);
AT(struct nx_capability, flags, 8);
AT(struct nx_capability, reason, 16);
SIZE(struct nx_stat, 40);
AT(struct nx_stat, name, 0);
AT(struct nx_stat, value, 32);
SIZE(struct nx_driver_ops, 240);
AT(struct nx_driver_ops, size, 0);
AT(struct nx_driver_ops, domains, 4);
AT(struct nx_driver_ops, affinity, 8);
AT(struct nx_driver_ops, open, 16);
AT(struct nx_driver_ops, close, 24);
AT(struct nx_driver_ops, ctx_open, 32);
AT(struct nx_driver_ops, ctx_close, 40);
AT(struct nx_driver_ops, submit, 48);
AT(struct nx_driver_ops, cancel, 56);
AT(struct nx_driver_ops, poll, 64);
AT(struct nx_driver_ops, arm, 72);
AT(struct nx_driver_ops, disarm, 80);
AT(struct nx_driver_ops, wait, 88);
AT(struct nx_driver_ops, wake, 96);
AT(struct nx_driver_ops, next_deadline, 104);
AT(struct nx_driver_ops, wait_fd, 112);
AT(struct nx_driver_ops, now, 120);
AT(struct nx_driver_ops, socket, 128);
AT(struct nx_driver_ops, bind, 136);
AT(struct nx_driver_ops, listen, 144);
AT(struct nx_driver_ops, option, 152);
AT(struct nx_driver_ops, name, 160);
AT(struct nx_driver_ops, import_fd, 168);
AT(struct nx_driver_ops, export_fd, 176);
AT(struct nx_driver_ops, release, 184);
AT(struct nx_driver_ops, loan_return, 192);
AT(struct nx_driver_ops, memory_register, 200);
AT(struct nx_driver_ops, memory_unregister, 208);
AT(struct nx_driver_ops, capability, 216);
AT(struct nx_driver_ops, stats, 224);
AT(struct nx_driver_ops, forked, 232);
SIZE(struct nx_ready_event, 16);
AT(struct nx_ready_event, token, 0);
AT(struct nx_ready_event, events, 8);
SIZE(struct nx_poller_ops, 64);
AT(struct nx_poller_ops, size, 0);
AT(struct nx_poller_ops, flags, 4);
AT(struct nx_poller_ops, open, 8);
AT(struct nx_poller_ops, close, 16);
AT(struct nx_poller_ops, watch, 24);
AT(struct nx_poller_ops, unwatch, 32);
AT(struct nx_poller_ops, wait, 40);
AT(struct nx_poller_ops, wake, 48);
AT(struct nx_poller_ops, wait_fd, 56);
SIZE(struct nx_fd_slot, 48);
AT(struct nx_fd_slot, generation, 0);
AT(struct nx_fd_slot, fd, 4);
AT(struct nx_fd_slot, flags, 8);
AT(struct nx_fd_slot, next_free, 12);
AT(struct nx_fd_slot, user, 16);
SIZE(struct nx_ready, 40);
AT(struct nx_ready, next, 0);
AT(struct nx_ready, home, 8);
AT(struct nx_ready, priority, 14);
AT(struct nx_ready, stealable, 15);
AT(struct nx_ready, sched, 16);
SIZE(struct nx_sched_ops, 80);
AT(struct nx_sched_ops, size, 0);
AT(struct nx_sched_ops, open, 8);
AT(struct nx_sched_ops, close, 16);
AT(struct nx_sched_ops, select, 24);
AT(struct nx_sched_ops, enqueue, 32);
AT(struct nx_sched_ops, inject, 40);
AT(struct nx_sched_ops, dequeue, 48);
AT(struct nx_sched_ops, steal, 56);
AT(struct nx_sched_ops, has_work, 64);
AT(struct nx_sched_ops, dump, 72);
CODE(NX_OP_NOP, 0);
CODE(NX_OP_ACCEPT, 1);
CODE(NX_OP_CONNECT, 2);
CODE(NX_OP_READ, 3);
CODE(NX_OP_WRITE, 4);
CODE(NX_OP_WRITEV, 5);
CODE(NX_OP_SHUTDOWN, 6);
CODE(NX_OP_CLOSE, 7);
CODE(NX_OP_POLL, 8);
CODE(NX_OP_RECVMSG, 9);
CODE(NX_OP_SENDMSG, 10);
CODE(NX_OP_OPEN, 11);
CODE(NX_OP_PREADV, 12);
CODE(NX_OP_PWRITEV, 13);
CODE(NX_OP_FSYNC, 14);
CODE(NX_OP_TRUNCATE, 15);
CODE(NX_OP_STAT, 16);
CODE(NX_OP_RENAME, 17);
CODE(NX_OP_UNLINK, 18);
CODE(NX_OP_MKDIR, 19);
CODE(NX_OP_MEMBERSHIP, 20);
CODE(NX_OP_COUNT, 21);
CODE(NX_IOV_MAX, 1024);
CODE(NX_CLOSE_KEEP, 1);
CODE(NX_OP_NOWAIT, 1);
CODE(NX_OP_MULTISHOT, 2);
CODE(NX_OP_LOAN, 4);
CODE(NX_OP_ZEROCOPY, 8);
CODE(NX_OP_INJECT, 16);
CODE(NX_OP_LINK, 32);
CODE(NX_FDS_MAX, 64);
CODE(NX_MESSAGE_CUT, 1);
CODE(NX_MESSAGE_FDS_CUT, 2);
CODE(NX_COMPLETION_MORE, 1);
CODE(NX_COMPLETION_LOANED, 2);
CODE(NX_COMPLETION_RELEASED, 4);
CODE(NX_COMPLETION_COPIED, 8);
CODE(NX_DOMAIN_NETWORK, 1);
CODE(NX_DOMAIN_FILES, 2);
CODE(NX_DOMAIN_FOREIGN, 4);
CODE(NX_DOMAIN_PROCESS, 8);
CODE(NX_AFFINITY_FREE, 0);
CODE(NX_AFFINITY_REBIND, 1);
CODE(NX_AFFINITY_PINNED, 2);
CODE(NX_CAP_NO, 0);
CODE(NX_CAP_NATIVE, 1);
CODE(NX_CAP_INLINE, 2);
CODE(NX_OPTION_REUSE_ADDR, 1);
CODE(NX_OPTION_REUSE_PORT, 2);
CODE(NX_OPTION_NODELAY, 3);
CODE(NX_OPTION_V6_ONLY, 4);
CODE(NX_OPTION_UNIX_MODE, 5);
CODE(NX_OPTION_BROADCAST, 6);
CODE(NX_OPTION_TTL, 7);
CODE(NX_OPTION_MULTICAST_LOOP, 8);
CODE(NX_OPTION_MULTICAST_SCOPE, 9);
CODE(NX_OPTION_RECEIVE_BUFFER, 10);
CODE(NX_IMPORT_FOREIGN, 1);
CODE(NX_SOCK_STREAM, 1);
CODE(NX_SOCK_DGRAM, 2);
/* clang-format on */

/* Not ABI, but promised: what a task costs before it has a stack. Sanitizers need more for their view of a fiber. */
#if !defined(NXI_ASAN) && !defined(NXI_TSAN)
_Static_assert(sizeof(struct nxi_task) <= 192, "a task's header is at most 192 bytes");
#endif

#endif
