// Attention gates of feature maps [C, H, W] with the 2 x 2 max pooling after them. See kernels/attention_gate.
#pragma once

#include <cstdint>

namespace dfer {

struct GateShape {
  std::int64_t channels, height, width;
  bool pool;  // 2 x 2 max pooling after the gate, rows and columns without a partner dropped
};

// F2 relu F1 of a vector of channels: [hidden, C], [hidden], [C, hidden], [C].
struct GateMlp {
  const float *weight1, *bias1, *weight2, *bias2;
  std::int64_t hidden;
};

// k x k convolution of planes with zero padding: [out, in, k, k], [out].
struct GateConv {
  const float *weight, *bias;
  std::int64_t in, out, kernel;
};

// x sigmoid(F2 relu F1 mean(x)).
void se_gate(const GateShape& shape, const GateMlp& channel, const float* x, float* out, int threads);

// x sigmoid(a s): a = sigmoid(F2 relu F1 mean over pixels), s = sigmoid(conv relu conv mean over channels).
void ag_gate(const GateShape& shape, const GateMlp& channel, const GateConv& spatial1, const GateConv& spatial2,
             const float* x, float* out, int threads);

// y = x sigmoid(mlp(mean) + mlp'(max)); y sigmoid(conv([max, mean] of y over channels)).
void cbam_gate(const GateShape& shape, const GateMlp& average, const GateMlp& maximum, const GateConv& spatial,
               const float* x, float* out, int threads);

}  // namespace dfer
