/* The system calls behind sys.h; each states what it does on a kernel that has it not. */
#define _GNU_SOURCE 1
#include "launcher/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

#define CLONE_FLAG_PIDFD 0x1000u

/* The first version of clone3's argument, which every kernel with clone3 takes. */
struct clone3_args {
	_Alignas(8) uint64_t flags;
	uint64_t pidfd;
	uint64_t child_tid;
	uint64_t parent_tid;
	uint64_t exit_signal;
	uint64_t stack;
	uint64_t stack_size;
	uint64_t tls;
};

pid_t sys_fork(int *pidfd)
{
	struct clone3_args args = {
	    .flags = CLONE_FLAG_PIDFD,
	    .pidfd = (uint64_t)(uintptr_t)pidfd,
	    .exit_signal = SIGCHLD,
	};
	long pid;

	*pidfd = -1;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0 && errno == ENOSYS) {
		/* Before 5.3, or a tool that knows no clone3. A kernel before 5.2 ignores the
		 * flag and leaves *pidfd alone. */
		pid = syscall(SYS_clone, (long)(CLONE_FLAG_PIDFD | SIGCHLD), NULL, pidfd, NULL,
		    NULL);
	}
	if (pid < 0 && (errno == EMFILE || errno == ENFILE)) /* it goes without, too */
		pid = syscall(SYS_clone, (long)SIGCHLD, NULL, NULL, NULL, NULL);
	return pid < 0 ? -errno : (pid_t)pid;
}

/* waitid with the argument that libc hides. */
static int raw_waitid(idtype_t type, pid_t pid, siginfo_t *info, int flags, struct rusage *ru)
{
	int n;

	memset(info, 0, sizeof(*info));
	do
		n = (int)syscall(SYS_waitid, type, pid, info, flags, ru);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int sys_peek_child(pid_t *pid, siginfo_t *info, struct rusage *usage)
{
	int error = raw_waitid(*pid ? P_PID : P_ALL, *pid, info, WEXITED | WNOHANG | WNOWAIT,
	    usage);

	if (error || info->si_pid == 0)
		return error;
	*pid = info->si_pid;
	return 1;
}

int sys_reap_child(pid_t pid)
{
	siginfo_t info;
	int error = raw_waitid(P_PID, pid, &info, WEXITED | WNOHANG, NULL);

	if (error)
		return error;
	return info.si_pid == 0 ? -EAGAIN : 0;
}

/* Before 5.9: by the list that /proc gives. */
static int close_listed(int first)
{
	char buf[4096];
	const char *name;
	ssize_t n;
	size_t at;
	int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd, closed;

	if (dir < 0)
		return -errno;
	do { /* closing shifts the list, so it is read until nothing is left */
		closed = 0;
		lseek(dir, 0, SEEK_SET);
		while ((n = sys_read_dir(dir, buf, sizeof(buf))) > 0) {
			for (at = 0; (name = sys_dir_name(buf, (size_t)n, &at));) {
				fd = atoi(name);
				if (name[0] == '.' || fd < first || fd == dir)
					continue;
				close(fd);
				closed++;
			}
		}
	} while (closed);
	close(dir);
	return 0;
}

int sys_close_from(int first)
{
	if (syscall(SYS_close_range, (unsigned)first, ~0u, 0u) == 0)
		return 0;
	return errno == ENOSYS ? close_listed(first) : -errno;
}

int sys_pidfd_open(pid_t pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0u);

	return fd < 0 ? -errno : (int)fd;
}

void sys_ignore_no_more(int signo)
{
	struct { /* as the kernel lays it out; all zero is the default */
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} act = {0}, dfl = {0};

	if (syscall(SYS_rt_sigaction, signo, NULL, &act, sizeof(act.mask)) == 0 &&
	    act.handler == SIG_IGN)
		syscall(SYS_rt_sigaction, signo, &dfl, NULL, sizeof(dfl.mask));
}

int sys_pidfd_signal(int pidfd, int signo)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0u) < 0 ? -errno : 0;
}

struct dir_entry { /* linux_dirent64 */
	uint64_t inode;
	int64_t offset;
	uint16_t len;
	uint8_t type;
	char name[];
};

ssize_t sys_read_dir(int fd, void *buf, size_t size)
{
	return (ssize_t)syscall(SYS_getdents64, fd, buf, size);
}

const char *sys_dir_name(const void *buf, size_t len, size_t *at)
{
	const char *entry = (const char *)buf + *at;
	uint16_t entry_len;

	if (*at >= len)
		return NULL;
	memcpy(&entry_len, entry + offsetof(struct dir_entry, len), sizeof(entry_len));
	*at += entry_len;
	return entry + offsetof(struct dir_entry, name);
}

void *sys_map_inherited(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void *sys_map(size_t size)
{
	void *p = sys_map_inherited(size);

	if (p)
		madvise(p, size, MADV_DONTFORK); /* else children have it too: no harm */
	return p;
}

int64_t sys_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

uint64_t sys_boot_ticks(void)
{
	struct timespec ts;
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * hz + (uint64_t)ts.tv_nsec * hz / 1000000000u;
}
