/* Counts what the audio callback must not do: allocations, locks and waits, system calls.
 * test_realtime.py preloads this library into Python.
 *
 * Allocations and locks: the functions here replace those of the C library. System calls: Linux's
 * syscall user dispatch (5.11, x86-64); while `gate` is 1 each system call raises SIGSYS, whatever
 * code makes it. The handler counts it, sets `gate` to 0 and repeats it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <ucontext.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

static __thread int watching; /* in the initial TLS block: its first use does not allocate */
static volatile char gate;    /* 0: system calls pass, 1: they raise SIGSYS */
static long allocations, locks, system_calls, last_system_call;

/* ---- allocations and locks ------------------------------------------------------------------- */

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

void *malloc(size_t n) {
    allocations += watching;
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    allocations += watching;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    allocations += watching;
    return __libc_realloc(p, n);
}
void *memalign(size_t alignment, size_t n) {
    allocations += watching;
    return __libc_memalign(alignment, n);
}
void *aligned_alloc(size_t alignment, size_t n) { return memalign(alignment, n); }
int posix_memalign(void **p, size_t alignment, size_t n) {
    return (*p = memalign(alignment, n)) ? 0 : ENOMEM;
}
void free(void *p) {
    allocations += watching && p;
    __libc_free(p);
}

#define COUNTED(type, name, parameters, arguments)                                                 \
    type name parameters {                                                                         \
        static type(*real) parameters;                                                             \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                             \
        locks += watching;                                                                         \
        return real arguments;                                                                     \
    }
COUNTED(int, pthread_mutex_lock, (pthread_mutex_t * m), (m))
COUNTED(int, pthread_mutex_trylock, (pthread_mutex_t * m), (m))
COUNTED(int, pthread_rwlock_rdlock, (pthread_rwlock_t * l), (l))
COUNTED(int, pthread_rwlock_wrlock, (pthread_rwlock_t * l), (l))
COUNTED(int, pthread_spin_lock, (pthread_spinlock_t * l), (l))
COUNTED(int, sem_wait, (sem_t * s), (s))
COUNTED(int, sem_post, (sem_t * s), (s))

/* ---- system calls ---------------------------------------------------------------------------- */

static void caught(int signal, siginfo_t *info, void *context) {
    (void)signal;
    gate = 0; /* first: returning from this handler is a system call */
    system_calls++;
    last_system_call = info->si_syscall;
#ifdef __x86_64__
    ucontext_t *c = context;
    c->uc_mcontext.gregs[REG_RAX] = info->si_syscall;
    c->uc_mcontext.gregs[REG_RIP] -= 2; /* repeat the instruction */
#else
    (void)context;
#endif
}

/* 1 if system calls can be counted. Call it once, in the watched thread. */
int watch_system_calls(void) {
#ifdef __x86_64__
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGSYS, &action, NULL)) return 0;
    return prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &gate) == 0;
#else
    return 0;
#endif
}

/* ---- called from Python ---------------------------------------------------------------------- */

void *PyObject_CallNoArgs(void *callable);
void Py_DecRef(void *object);

/* Calls `callable` `times` times and counts; 0 if it raised. counts: allocations, locks, system
 * calls, number of the last system call. */
int watch_calls(void *callable, long times, long counts[4]) {
    allocations = locks = system_calls = 0, last_system_call = -1;
    int ok = 1;
    for (; ok && times > 0; times--) {
        watching = 1, gate = 1;
        void *result = PyObject_CallNoArgs(callable);
        watching = 0, gate = 0;
        ok = result != NULL;
        if (result) Py_DecRef(result);
    }
    memcpy(counts, (long[4]){allocations, locks, system_calls, last_system_call}, 4 * sizeof(long));
    return ok;
}
