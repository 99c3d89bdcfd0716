// Local binary patterns on the GPU, ring 2: launches on the caller's stream, no allocation, no synchronisation.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "common/affine.h"

namespace dfer {

struct LbpShape {
  std::int64_t frames, height, width;
  int channels;  // 1 or 3
};

struct LbpWeights {
  std::uint8_t value[8];
  bool zero_border;
};

// Codes [T, H, W].
cudaError_t lbp_codes(const std::uint8_t* frames, LbpShape shape, LbpWeights weights, std::uint8_t* codes,
                      cudaStream_t stream);

// Normalised clip [3, T, H, W].
struct LbpAffine {
  Affine channel[3];
};
cudaError_t lbp_clip(const std::uint8_t* frames, LbpShape shape, LbpWeights weights, LbpAffine affine, float* clip,
                     cudaStream_t stream);

}  // namespace dfer
