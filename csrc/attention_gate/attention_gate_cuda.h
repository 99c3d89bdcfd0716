// Attention gates on the GPU, ring 2: three to five launches on the caller's stream, no allocation, no synchronisation.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "common/dtypes.h"

namespace dfer {

enum class GateKind : int { agfer = 0, se = 1, cbam = 2 };

struct GateSizes {
  std::int64_t images;
  int channels, height, width;
  int hidden, hidden2;  // units of the MLPs, the second one CBAM's
  int planes;           // hidden planes of AGFER's convolutions
  bool pool;
};

// x [N, C, H, W], weights in the order of kernels/attention_gate/rules.py (at most 10) and out of `dtype`; scratch
// holds gate_scratch(sizes) floats.
struct GateArrays {
  const void* x;
  const void* weights[10];
  float* scratch;
  void* out;
};

std::int64_t gate_scratch(const GateSizes& sizes);

cudaError_t attention_gate(GateKind kind, const GateSizes& sizes, const GateArrays& arrays, DType dtype,
                           cudaStream_t stream);

}  // namespace dfer
