/* Counts what must not happen in the audio callback: allocations, locks and waits, system calls. Preloaded into Python by
 * test_realtime.py.
 *
 * Allocations and locks are counted by standing in for the C library's functions. System calls are caught by the processor's way
 * into the kernel itself (Linux's syscall user dispatch, 5.11 and x86-64): while `gate` is shut, each raises SIGSYS instead, whoever
 * makes it; the handler notes its number, opens the gate and lets it be made after all.
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

static __thread int watching; /* in the initial thread's block: no allocation of its own */
static volatile char gate;    /* 0: system calls pass, 1: they are caught */
static long allocations, locks, system_calls, last_system_call;

/* ---- allocations and locks ---------------------------------------------------------------------------------------------- */

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

/* ---- system calls -------------------------------------------------------------------------------------------------------- */

static void caught(int signal, siginfo_t *info, void *context) {
    (void)signal;
    gate = 0; /* first: the return from this handler is a system call, too */
    system_calls++;
    last_system_call = info->si_syscall;
#ifdef __x86_64__
    ucontext_t *c = context;
    c->uc_mcontext.gregs[REG_RAX] = info->si_syscall;
    c->uc_mcontext.gregs[REG_RIP] -= 2; /* the instruction again */
#else
    (void)context;
#endif
}

/* 1 if system calls can be caught. Once, in the thread that is to be watched. */
int watch_system_calls(void) {
#ifdef __x86_64__
    struct sigaction action = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (sigaction(SIGSYS, &action, NULL)) return 0;
    return prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &gate) == 0;
#else
    return 0;
#endif
}

/* ---- the door to Python --------------------------------------------------------------------------------------------------- */

void *PyObject_CallNoArgs(void *callable);
void Py_DecRef(void *object);

/* Calls `callable` so many times under watch; 0 if it raised. The result is counted in the arrays: allocations, locks, system calls,
 * number of the last of these. */
int watch_calls(void *callable, long times, long counts[4]) {
    allocations = locks = system_calls = 0, last_system_call = -1;
    int whole = 1;
    for (; whole && times > 0; times--) {
        watching = 1, gate = 1;
        void *result = PyObject_CallNoArgs(callable);
        watching = 0, gate = 0;
        whole = result != NULL;
        if (result) Py_DecRef(result);
    }
    memcpy(counts, (long[4]){allocations, locks, system_calls, last_system_call}, 4 * sizeof(long));
    return whole;
}
