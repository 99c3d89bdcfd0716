// Runs the body of a CUDA kernel on the CPU, thread after thread, so that its arithmetic is tested without a GPU. For
// kernels whose threads do not talk to each other: no shared memory, no shuffles, no barriers.
// Include before any .cuh; compile with g++ and the toolkit's headers.
#pragma once

#include <algorithm>
#include <cstdint>

#include <cuda_runtime.h>  // vector types, dim3; its other markers mean nothing to g++

#define __launch_bounds__(...)

using std::max;
using std::min;

inline dim3 blockIdx, blockDim;
inline uint3 threadIdx;

template <typename T>
T __ldg(const T* address) {
  return *address;
}

inline float __ull2float_rn(unsigned long long value) { return static_cast<float>(value); }

inline std::uint32_t __vcmpgeu4(std::uint32_t a, std::uint32_t b) {
  std::uint32_t mask = 0;
  for (int shift = 0; shift < 32; shift += 8)
    if ((a >> shift & 255u) >= (b >> shift & 255u)) mask |= 255u << shift;
  return mask;
}

namespace selftest {

// As kernel<<<grid, block>>>(arguments...) would, from block `first` of each row of the grid on.
template <typename Kernel, typename... Arguments>
void launch_from(unsigned first, dim3 grid, dim3 block, Kernel kernel, Arguments... arguments) {
  blockDim = block;
  for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
    for (blockIdx.x = first; blockIdx.x < grid.x; ++blockIdx.x)
      for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y)
        for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x) kernel(arguments...);
}

template <typename Kernel, typename... Arguments>
void launch(dim3 grid, dim3 block, Kernel kernel, Arguments... arguments) {
  launch_from(0, grid, block, kernel, arguments...);
}

}  // namespace selftest
