/* A simulated CUDA driver: types, and what its files know of each other.
 *
 * It answers to the names of libcuda.so.1 that pycuda and cuda-bindings call, with one GPU or none, and computes on the
 * processor. It is stricter than a driver: work runs no earlier than at a synchronisation, addresses of the GPU are
 * none that the host can follow, freed memory is unmapped, and misuse that a driver may let pass ends the process.
 * Written from the documentation of the driver API; nothing of it comes from NVIDIA.
 *
 * Environment, read at every call:
 *   SIM_CUDA_DEVICES=0            no GPU
 *   SIM_CUDA_INTEGRATED=1         shares its memory with the host
 *   SIM_CUDA_CAPABILITY=87        compute capability 8.7
 *   SIM_CUDA_VERSION=12060        CUDA that it speaks, 12.6
 *   SIM_CUDA_MEMORY_MB=64         memory of the GPU
 *   SIM_CUDA_FAIL=cuMemAlloc_v2=2 this function gives this error; from 700 on, all later work does
 *   SIM_CUDA_WITHOUT=cuGraphLaunch  cuGetProcAddress does not find it
 *   SIM_CUDA_REPORT=FILE          what was not given back, one line, when the process ends
 */
#define _GNU_SOURCE
#include <stddef.h>

typedef int CUresult, CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct context *CUcontext;
typedef struct stream *CUstream;
typedef struct event *CUevent;
typedef struct graph *CUgraph, *CUgraphExec;

enum {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201, INVALID_HANDLE = 400, ILLEGAL_STATE = 401, NOT_FOUND = 500, NOT_READY = 600,
    STICKY = 700, CONTEXT_IS_DESTROYED = 709, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901,
    CAPTURE_WRONG_THREAD = 908
};

/* What a function needs before it does anything. */
enum { ANYTIME, INITIALISED, CURRENT };

#define ENTER(need)                                                                                                   \
    __attribute__((cleanup(leave))) int locked = take();                                                              \
    CUresult refused = enter(__func__, need);                                                                         \
    if (refused) return refused

int take(void);
void leave(int *);
CUresult enter(const char *function, int need);
_Noreturn void misuse(const char *format, ...);
long number(const char *variable, long otherwise);
unsigned generation(void);

/* Lists of what was made. Entries are never reused, so that an old handle is recognised. NEW puts one at the head;
 * CHECK ends the process where a handle is not one of the list, or no longer. */
#define NEW(list)                                                                                                     \
    ({ __typeof__(list) one = calloc(1, sizeof *one); one->born = generation(); one->next = list; list = one; one; })
#define CHECK(list, handle, what)                                                                                     \
    do {                                                                                                              \
        __typeof__(list) one = list;                                                                                  \
        while (one && one != (handle)) one = one->next;                                                               \
        if (!one) misuse("%s: no such " what, __func__);                                                              \
        if (one->dead || one->born != generation()) misuse("%s: the " what " is destroyed", __func__);                \
    } while (0)
#define COUNT(list, condition)                                                                                        \
    ({ int found = 0; for (__typeof__(list) one = list; one; one = one->next) found += (condition); found; })

/* memory.c: where a range of memory lies that work is about to touch. */
#define BIAS (1ULL << 56) /* an address of the GPU is the host's plus this: followed on the host, it faults */
enum { DEVICE, PINNED };
struct memory { char *at; size_t size; unsigned kind, flags, born; int freed, enqueued; struct memory *next; };
struct memory *holding(const char *at, size_t bytes, const char *function); /* NULL: not pinned */
struct memory *on_gpu(CUdeviceptr address, size_t bytes, const char *function);
int held(unsigned kind);
void unmap_all(void);
size_t used_bytes(void);

/* work.c: what becomes of it when the context is gone, when all is waited for, and at exit. */
void forget_all(void);
CUresult wait_for_all(void);
int unsafe(void); /* a call that may not come while this thread captures: the capture is lost */
int describe_left(char *text, size_t size);
