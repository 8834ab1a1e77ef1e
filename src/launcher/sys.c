/* The system calls behind sys.h; each states what it does on a kernel that has it not. */
#define _GNU_SOURCE 1
#include "launcher/sys.h"

#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launcher/raw.h"

#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif

#define CLONE_FLAG_PIDFD 0x1000u

#define RSEQ_STEP 32u /* lengths of its area: multiples of it */
#define RSEQ_MAX 256u
#define STACK_GUARD (1024u * 1024) /* below the stack the kernel maps nothing for so many bytes */

extern char _end[]; /* of the program's data, by the linker */

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

pid_t sys_fork(const struct sys_child *child, int *pidfd)
{
	/* Where a child needs libc, it also needs what the stack that it came from holds. */
	bool apart = RAW_ALONE && child->stack;
	struct clone3_args args = {
	    .flags = pidfd ? CLONE_FLAG_PIDFD : 0,
	    .pidfd = (uint64_t)(uintptr_t)pidfd,
	    .exit_signal = SIGCHLD,
	    .stack = apart ? (uint64_t)(uintptr_t)child->stack : 0,
	    .stack_size = apart ? child->stack_size : 0,
	};
	long top = (long)(args.stack + args.stack_size);
	long pid;

	if (pidfd)
		*pidfd = -1;
	pid = raw_fork(SYS_clone3, (long)(uintptr_t)&args, sizeof(args), 0, child->run, child->arg);
	if (pid == -ENOSYS) {
		/* Before 5.3, or a tool that knows no clone3. A kernel before 5.2 ignores the
		 * flag and leaves *pidfd alone. */
		pid = raw_fork(SYS_clone, (long)(args.flags | SIGCHLD), top,
		    (long)(uintptr_t)pidfd, child->run, child->arg);
	}
	if (pid == -EMFILE || pid == -ENFILE) /* it goes without, too */
		pid = raw_fork(SYS_clone, SIGCHLD, top, 0, child->run, child->arg);
	if (pidfd && pid < 0)
		*pidfd = -1; /* some failures come after the kernel has written its number */
	return (pid_t)pid;
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

#if RAW_ALONE
/* The kernel writes to where libc registered restartable sequences whenever it has preempted us, or
 * a child, which would then have to have that memory. False: it goes on to. */
static bool end_rseq(void)
{
#ifdef RSEQ_SIG
	struct rseq *area = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	const volatile uint32_t *cpu = &area->cpu_id; /* the kernel's; negative: unregistered */

	/* The length must be the one of the registration, which libc keeps to itself. */
	for (uint32_t len = RSEQ_STEP; (int32_t)*cpu >= 0 && len <= RSEQ_MAX; len += RSEQ_STEP)
		syscall(SYS_rseq, area, len, RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
	return (int32_t)*cpu < 0;
#else
	return true;
#endif
}

/* From the page of `from` to that of `to`; what is not mapped in between is passed over. */
static void advise_pages(const void *from, const void *to, int advice)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t first = (uintptr_t)from & -page, end = ((uintptr_t)to + page - 1) & -page;

	if (first < end)
		madvise((void *)first, end - first, advice);
}

/* What a part of the program, itself or a library, can write to. */
static int advise_object(struct dl_phdr_info *object, size_t size, void *advice)
{
	(void)size;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];
		const char *from = (const char *)(object->dlpi_addr + part->p_vaddr);

		if (part->p_type == PT_LOAD && (part->p_flags & PF_W))
			advise_pages(from, from + part->p_memsz, *(int *)advice);
	}
	return 0;
}

static void advise_own_memory(int advice)
{
	const char *here = (const char *)__builtin_frame_address(0);
	const char *name = (const char *)getauxval(AT_EXECFN); /* the last on the stack */

	dl_iterate_phdr(advise_object, &advice);
	advise_pages(_end, sbrk(0), advice); /* the heap follows the program's data */
	if (name)
		advise_pages(here - STACK_GUARD, name + strlen(name) + 1, advice);
}

bool sys_keep_memory(void)
{
	if (!end_rseq())
		return false;
	advise_own_memory(MADV_DONTFORK);
	return true;
}

void sys_share_memory(void)
{
	advise_own_memory(MADV_DOFORK);
}
#else
bool sys_keep_memory(void)
{
	return false;
}

void sys_share_memory(void)
{
}
#endif

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
