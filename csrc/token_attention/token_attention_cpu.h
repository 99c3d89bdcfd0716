// The head of SlowR50-SA: self-attention over one token is affine. See kernels/token_attention.
#pragma once

#include <cstdint>

namespace dfer {

// weight [out, in], bias [out]
struct Linear {
  const float *weight, *bias;
  std::int64_t in, out;
};

// Folded: classifier(relu(attention x)), x [batch, attention.in], out [batch, classifier.out].
struct FoldedHead {
  Linear attention, classifier;
};

// As printed: classifier(relu(fc(x + project(value x)))).
struct PrintedHead {
  Linear value, project, fc, classifier;
};

void token_attention(const FoldedHead& head, const float* x, std::int64_t batch, bool softmax, float* out, int threads);
void token_attention(const PrintedHead& head, const float* x, std::int64_t batch, bool softmax, float* out,
                     int threads);

}  // namespace dfer
