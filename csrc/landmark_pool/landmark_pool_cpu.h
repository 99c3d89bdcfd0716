// Gaussian pooling of feature maps at landmarks, with triplet gates applied on the way. See kernels/landmark_pool.
#pragma once

#include <cstdint>

namespace dfer {

struct LandmarkPool {
  std::int64_t images, channels, height, width, landmarks;
  float sigma;     // cells
  bool norm_heat;  // divide a local vector by the sum of its map, not by the number of cells
};

// All three or none. gate = (over_channels[n, h, w] + over_height[n, c, w] + over_width[n, c, h]) / 3
struct TripletGates {
  const float* over_channels;
  const float* over_height;
  const float* over_width;
};

// features [N, C, H, W], points [N, J, 2] in cells (x, y), out [N, J + 1, C].
void landmark_pool(const LandmarkPool& op, const float* features, const float* points, const TripletGates& gates,
                   float* out, int threads);

}  // namespace dfer
