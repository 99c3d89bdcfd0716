// 3x3 convolution, stride 1, one cell of zeros around, by Winograd's F(4x4, 3x3): 36 products for 144.
#pragma once

#include <cstdint>

namespace dfer {

struct Winograd {
  std::int64_t images, height, width, channels, outputs;
};

// Channels, and outputs, are multiples of it.
constexpr std::int64_t kWinogradBlock = 64;

// Floats of scratch memory for `threads` threads.
std::int64_t winograd_scratch(const Winograd& op, int threads);

// out = conv(x, w) + bias, of x [N, H, W, C] and out [N, H, W, K]: channels last.
// weights [36, K / 64, C, 64]: G w G^T of each 3x3 kernel (dfer_edge/inference/torch_winograd.py).
void winograd(const Winograd& op, const float* x, const float* weights, const float* bias, float* out, float* scratch,
              int threads);

}  // namespace dfer
