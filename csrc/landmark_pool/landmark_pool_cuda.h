// Landmark pooling on the GPU, ring 2: one launch on the caller's stream, no allocation, no synchronisation.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "common/dtypes.h"

namespace dfer {

struct LandmarkPoolShape {
  std::int64_t images, channels;
  int height, width, landmarks;
  float sigma;
  bool norm_heat;
};

// features [N, C, H, W], gates (all or none) and out [N, J + 1, C] of `dtype`; points float [N, J, 2] in cells.
struct LandmarkPoolArrays {
  const void* features;
  const float* points;
  const void *over_channels, *over_height, *over_width;
  void* out;
};

// Largest map: its profiles and one row of a block's channels are held in shared memory.
constexpr int kLandmarkPoolWidth = 96, kLandmarkPoolHeight = 160;

cudaError_t landmark_pool(const LandmarkPoolShape& shape, const LandmarkPoolArrays& arrays, DType dtype,
                          cudaStream_t stream);

}  // namespace dfer
