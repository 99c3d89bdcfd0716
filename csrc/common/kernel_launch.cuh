// How this repository launches a kernel, and names its dynamic shared memory: plain CUDA under nvcc. Without nvcc the
// same sources compile for csrc/selftest/cuda_blocks_on_host.h, which runs a block's threads on the CPU, for tests without a GPU.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>

#define DFER_DYNAMIC_SHARED(name) extern __shared__ float4 name[]

namespace dfer {

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, int threads, std::size_t shared_bytes, cudaStream_t stream,
            Arguments... arguments) {
  kernel<<<grid, threads, shared_bytes, stream>>>(arguments...);
}

}  // namespace dfer
#else
#include "selftest/cuda_blocks_on_host.h"
#endif
