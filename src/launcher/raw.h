#ifndef LAUNCHER_RAW_H
#define LAUNCHER_RAW_H
/*
 * System calls without libc, for what runs between fork and exec. There is nothing of libc's there,
 * neither its memory (errno, the canary of the stack) nor its code: every page that a child
 * touches, and every one that both sides write to, is a page fault of every job.
 *
 * On machines that this does not know, and under sanitizers, RAW_ALONE is 0: the calls are libc's,
 * and children inherit its memory.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__) && defined(__LP64__) && !defined(SLOT_SANITIZERS)
#define RAW_ALONE 1
#else
#define RAW_ALONE 0
#endif

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#if RAW_ALONE
/* The result, or -errno. */
static inline long raw_call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

/* For the numbers of clone and clone3: the child calls run(arg) at the top of its stack, which must
 * not return. The child's pid, or -errno. (Both operands are read before rbp, which may be one of
 * them, is cleared.) */
static inline long raw_fork(long number, long a, long b, long c, void (*run)(void *), void *arg)
{
	register long r10 __asm__("r10") = 0;
	register long r8 __asm__("r8") = 0;
	long result;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "mov %[arg], %%rdi\n\t"
			 "mov %[run], %%rax\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "and $-16, %%rsp\n\t"
			 "call *%%rax\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			 [run] "r"(run), [arg] "r"(arg)
			 : "rcx", "r11", "memory");
	return result;
}
#else
static inline long raw_call(long number, long a, long b, long c, long d)
{
	long result = syscall(number, a, b, c, d);

	return result < 0 ? -errno : result;
}

static inline long raw_fork(long number, long a, long b, long c, void (*run)(void *), void *arg)
{
	long result = syscall(number, a, b, c, NULL, NULL);

	if (result == 0)
		run(arg);
	return result < 0 ? -errno : result;
}
#endif

#endif
