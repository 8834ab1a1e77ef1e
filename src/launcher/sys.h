#ifndef LAUNCHER_SYS_H
#define LAUNCHER_SYS_H
/*
 * System calls that libc lacks or wraps too much, and what to do on kernels without them. The
 * one place for such differences.
 */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

/* How a child begins: run(arg), which doesn't return, on the stack given, or where that is NULL on
 * a copy of ours. */
struct sys_child {
	void (*run)(void *);
	void *arg;
	void *stack; /* the lowest byte */
	size_t stack_size;
};

/* As fork, without libc's handlers; *pidfd is the child's descriptor, or -1 where the kernel
 * gives none or none is left. NULL: none is wanted. The child's pid, or -errno. */
pid_t sys_fork(const struct sys_child *child, int *pidfd);

/* The state of child `pid` (0: any child) if it has ended, without waiting and without reaping
 * it. 1: ended, *pid is filled in; 0: not yet; -errno. usage may be NULL. */
int sys_peek_child(pid_t *pid, siginfo_t *info, struct rusage *usage);

/* Reaps an ended child. 0 or -errno (-EAGAIN: it has not ended). */
int sys_reap_child(pid_t pid);

/* A descriptor for process `pid`, or -errno. */
int sys_pidfd_open(pid_t pid);
int sys_pidfd_signal(int pidfd, int signo); /* 0 or -errno */

/* Makes an ignored signal the default again: the two that libc keeps for itself too, which its
 * posix_spawn leaves ignored and its sigaction refuses to touch. Handlers stay. */
void sys_ignore_no_more(int signo);

/* One read of a directory, as getdents64(2); entries are walked with sys_dir_name. */
ssize_t sys_read_dir(int fd, void *buf, size_t size);
/* The name of the entry at *at, which moves on; NULL at the end. */
const char *sys_dir_name(const void *buf, size_t len, size_t *at);

/* `size` bytes of zeros, mapped and given back never; NULL: no memory. A child has only what is
 * inherited: the less there is to copy, the faster is a start. */
void *sys_map(size_t size);
void *sys_map_inherited(size_t size);

/*
 * The program's own memory, which is its data, heap and stack. Not inherited, none of it is copied
 * for a child or because of one; but then a child can't use libc. It is inherited until it was said
 * otherwise. False: it has to stay so.
 */
bool sys_keep_memory(void);
void sys_share_memory(void); /* for the next child; then sys_keep_memory again */

int64_t sys_now_us(void);    /* CLOCK_MONOTONIC */
uint64_t sys_boot_ticks(void); /* now, as the start times in /proc count */

#endif
