/* The simulated driver's GPU, its primary context and the stack of contexts that each thread has. */
#include "libcuda.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static struct context { int references; unsigned generation; } primary;
static __thread CUcontext stack[16];
static __thread int depth;
static int initialised, stuck;

int take(void) { return pthread_mutex_lock(&mutex); }
void leave(int *locked) { (void)locked; pthread_mutex_unlock(&mutex); }
unsigned generation(void) { return primary.generation; }

void misuse(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("simulated CUDA driver: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    abort();
}

long number(const char *variable, long otherwise) {
    const char *text = getenv(variable);
    return text && *text ? atol(text) : otherwise;
}

CUresult enter(const char *function, int need) {
    const char *fail = getenv("SIM_CUDA_FAIL");
    size_t length = strlen(function);
    if (fail && !strncmp(fail, function, length) && fail[length] == '=') {
        int code = atoi(fail + length + 1);
        if (code >= STICKY && code < CONTEXT_IS_DESTROYED) stuck = code;
        return code;
    }
    if (need >= INITIALISED && !initialised) return NOT_INITIALIZED;
    if (need < CURRENT) return SUCCESS;
    if (stuck) return stuck;
    if (!depth) return INVALID_CONTEXT;
    return stack[depth - 1]->references ? SUCCESS : CONTEXT_IS_DESTROYED;
}

/* The driver and its device. */

CUresult cuInit(unsigned flags) {
    ENTER(ANYTIME);
    if (flags) return INVALID_VALUE;
    if (!number("SIM_CUDA_DEVICES", 1)) return NO_DEVICE;
    initialised = 1;
    return SUCCESS;
}

CUresult cuDriverGetVersion(int *version) {
    ENTER(ANYTIME);
    *version = number("SIM_CUDA_VERSION", 13000);
    return SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **text) {
    static __thread char name[32];
    snprintf(name, sizeof name, "error %d", error);
    *text = name;
    return SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char **text) { return cuGetErrorName(error, text); }

CUresult cuDeviceGetCount(int *count) { ENTER(INITIALISED); *count = 1; return SUCCESS; }

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    ENTER(INITIALISED);
    if (ordinal) return INVALID_DEVICE;
    *device = 0;
    return SUCCESS;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
    ENTER(INITIALISED);
    if (device) return INVALID_DEVICE;
    snprintf(name, length, "Simulated");
    return SUCCESS;
}

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
    ENTER(INITIALISED);
    if (device) return INVALID_DEVICE;
    *major = number("SIM_CUDA_CAPABILITY", 87) / 10;
    *minor = number("SIM_CUDA_CAPABILITY", 87) % 10;
    return SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    ENTER(INITIALISED);
    if (device) return INVALID_DEVICE;
    *bytes = (size_t)number("SIM_CUDA_MEMORY_MB", 1024) << 20;
    return SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
    ENTER(INITIALISED);
    if (device) return INVALID_DEVICE;
    switch (attribute) {
        case 16: *value = 8; return SUCCESS;                                /* MULTIPROCESSOR_COUNT */
        case 18: *value = number("SIM_CUDA_INTEGRATED", 0); return SUCCESS; /* INTEGRATED */
        case 19: *value = 1; return SUCCESS;                                /* CAN_MAP_HOST_MEMORY */
        case 75: return cuDeviceComputeCapability(value, &(int){0}, device);
        case 76: return cuDeviceComputeCapability(&(int){0}, value, device);
        default: misuse("attribute %d is not simulated", attribute);
    }
}

/* Contexts. */

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    ENTER(INITIALISED);
    if (device) return INVALID_DEVICE;
    if (!primary.references++) primary.generation++;
    *context = &primary;
    return SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    ENTER(INITIALISED);
    if (device) return INVALID_DEVICE;
    if (!primary.references) return INVALID_CONTEXT;
    if (!--primary.references) forget_all();
    return SUCCESS;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
    ENTER(INITIALISED);
    if (device) return INVALID_DEVICE;
    *flags = 0;
    *active = primary.references > 0;
    return SUCCESS;
}

CUresult cuCtxPushCurrent_v2(CUcontext context) {
    ENTER(INITIALISED);
    if (context != &primary) return INVALID_CONTEXT;
    if (depth == 16) misuse("contexts are pushed and never popped");
    stack[depth++] = context;
    return SUCCESS;
}

CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    ENTER(INITIALISED);
    if (!depth) return INVALID_CONTEXT;
    *context = stack[--depth];
    return SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext *context) {
    ENTER(INITIALISED);
    *context = depth ? stack[depth - 1] : NULL;
    return SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice *device) { ENTER(CURRENT); *device = 0; return SUCCESS; }
CUresult cuCtxSynchronize(void) { ENTER(CURRENT); return wait_for_all(); }

CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    ENTER(CURRENT);
    cuDeviceTotalMem_v2(total, 0);
    *free_bytes = *total - used_bytes();
    return SUCCESS;
}

/* How cuda-bindings finds the rest. */

CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, unsigned long long flags, int *status) {
    static const char *suffixes[] = {"", "_v2", "_v3", "_v4"};
    const char *without = getenv("SIM_CUDA_WITHOUT");
    Dl_info self;
    (void)version, (void)flags;
    *function = NULL;
    dladdr((void *)cuGetProcAddress_v2, &self);
    void *library = dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    for (size_t i = 0; i < 4 && !*function; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", symbol, suffixes[i]);
        if (!without || strcmp(without, name)) *function = dlsym(library, name);
    }
    dlclose(library);
    if (status) *status = !*function;
    return *function || status ? SUCCESS : NOT_FOUND;
}

CUresult cuGetProcAddress(const char *symbol, void **function, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}

/* When the process ends. A thread's own stack can be seen only by itself: this is the main thread's. */
__attribute__((destructor)) static void report(void) {
    const char *path = getenv("SIM_CUDA_REPORT");
    char left[256] = "";
    FILE *file = path && *path ? fopen(path, "w") : NULL;
    if (!file) return;
    describe_left(left, sizeof left);
    fprintf(file, "%s%d context references, %d pushed\n", left, primary.references, depth);
    fclose(file);
}

/* pycuda is linked to these as well. */
#define ABSENT(name) void name(void) { misuse(#name " is not simulated"); }
ABSENT(cuArray3DCreate_v2) ABSENT(cuArray3DGetDescriptor_v2) ABSENT(cuArrayCreate_v2) ABSENT(cuArrayDestroy)
ABSENT(cuArrayGetDescriptor_v2) ABSENT(cuCtxAttach) ABSENT(cuCtxCreate_v2) ABSENT(cuCtxCreate_v4) ABSENT(cuCtxDetach)
ABSENT(cuCtxDisablePeerAccess) ABSENT(cuCtxEnablePeerAccess) ABSENT(cuCtxGetApiVersion) ABSENT(cuCtxGetCacheConfig)
ABSENT(cuCtxGetLimit) ABSENT(cuCtxGetSharedMemConfig) ABSENT(cuCtxSetCacheConfig) ABSENT(cuCtxSetLimit)
ABSENT(cuCtxSetSharedMemConfig) ABSENT(cuDeviceCanAccessPeer) ABSENT(cuDeviceGetByPCIBusId)
ABSENT(cuDeviceGetPCIBusId) ABSENT(cuFuncGetAttribute) ABSENT(cuFuncSetAttribute) ABSENT(cuFuncSetBlockShape)
ABSENT(cuFuncSetCacheConfig) ABSENT(cuFuncSetSharedMemConfig) ABSENT(cuFuncSetSharedSize) ABSENT(cuIpcCloseMemHandle)
ABSENT(cuIpcGetEventHandle) ABSENT(cuIpcGetMemHandle) ABSENT(cuIpcOpenEventHandle) ABSENT(cuIpcOpenMemHandle_v2)
ABSENT(cuLaunch) ABSENT(cuLaunchGrid) ABSENT(cuLaunchGridAsync) ABSENT(cuLaunchKernel) ABSENT(cuLinkAddData_v2)
ABSENT(cuLinkAddFile_v2) ABSENT(cuLinkComplete) ABSENT(cuLinkCreate_v2) ABSENT(cuLinkDestroy)
ABSENT(cuMemAllocManaged) ABSENT(cuMemAllocPitch_v2) ABSENT(cuMemGetAddressRange_v2) ABSENT(cuMemHostRegister_v2)
ABSENT(cuMemHostUnregister) ABSENT(cuMemcpy2DAsync_v2) ABSENT(cuMemcpy2DUnaligned_v2) ABSENT(cuMemcpy2D_v2)
ABSENT(cuMemcpy3DAsync_v2) ABSENT(cuMemcpy3DPeer) ABSENT(cuMemcpy3DPeerAsync) ABSENT(cuMemcpy3D_v2)
ABSENT(cuMemcpyAtoA_v2) ABSENT(cuMemcpyAtoD_v2) ABSENT(cuMemcpyAtoH_v2) ABSENT(cuMemcpyDtoA_v2)
ABSENT(cuMemcpyDtoD_v2) ABSENT(cuMemcpyDtoH_v2) ABSENT(cuMemcpyHtoA_v2) ABSENT(cuMemcpyHtoD_v2) ABSENT(cuMemcpyPeer)
ABSENT(cuMemcpyPeerAsync) ABSENT(cuMemsetD16Async) ABSENT(cuMemsetD16_v2) ABSENT(cuMemsetD2D16Async)
ABSENT(cuMemsetD2D16_v2) ABSENT(cuMemsetD2D32Async) ABSENT(cuMemsetD2D32_v2) ABSENT(cuMemsetD2D8Async)
ABSENT(cuMemsetD2D8_v2) ABSENT(cuMemsetD32_v2) ABSENT(cuMemsetD8_v2) ABSENT(cuModuleGetFunction)
ABSENT(cuModuleGetGlobal_v2) ABSENT(cuModuleGetSurfRef) ABSENT(cuModuleGetTexRef) ABSENT(cuModuleLoad)
ABSENT(cuModuleLoadData) ABSENT(cuModuleLoadDataEx) ABSENT(cuModuleUnload) ABSENT(cuParamSetSize)
ABSENT(cuParamSetTexRef) ABSENT(cuParamSetf) ABSENT(cuParamSeti) ABSENT(cuParamSetv) ABSENT(cuProfilerInitialize)
ABSENT(cuProfilerStart) ABSENT(cuProfilerStop) ABSENT(cuStreamAttachMemAsync) ABSENT(cuStreamWaitEvent)
ABSENT(cuSurfRefGetArray) ABSENT(cuSurfRefSetArray) ABSENT(cuTexRefCreate) ABSENT(cuTexRefDestroy)
ABSENT(cuTexRefGetAddressMode) ABSENT(cuTexRefGetAddress_v2) ABSENT(cuTexRefGetArray) ABSENT(cuTexRefGetFilterMode)
ABSENT(cuTexRefGetFlags) ABSENT(cuTexRefGetFormat) ABSENT(cuTexRefSetAddress2D_v3) ABSENT(cuTexRefSetAddressMode)
ABSENT(cuTexRefSetAddress_v2) ABSENT(cuTexRefSetArray) ABSENT(cuTexRefSetFilterMode) ABSENT(cuTexRefSetFlags)
ABSENT(cuTexRefSetFormat)
