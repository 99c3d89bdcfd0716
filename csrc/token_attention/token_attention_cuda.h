// The folded head of SlowR50-SA on the GPU, ring 2: one launch, no allocation, no synchronisation.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "common/dtypes.h"

namespace dfer {

struct TokenShape {
  std::int64_t batch;
  int width, units, classes;
  bool softmax;
};

// x [B, D], weight [H, D], bias [H], classifier [K, H] and its bias [K], out [B, K] of `dtype`. Scratch: hidden, float
// [B, H]; counter, one int that is 0 before the first launch and left at 0, not shared with a launch under way.
struct TokenArrays {
  const void *x, *weight, *bias, *classifier, *classifier_bias;
  float* hidden;
  unsigned* counter;
  void* out;
};

constexpr int kTokenClasses = 256;

cudaError_t token_attention(const TokenShape& shape, const TokenArrays& arrays, DType dtype, cudaStream_t stream);

}  // namespace dfer
