#include "token_attention/token_attention_cpu.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/parallel.h"
#include "common/width.h"

namespace dfer {
namespace {

// Products of one weight row with kBatch tokens; at least four sums are under way, or additions would wait.
template <int kBytes, int kBatch>
DFER_INLINE void products(const float* weight, const float* x, std::int64_t count, float* out) {
  constexpr std::int64_t kLanes = kBytes / 4;
  constexpr int kParts = kBatch >= 4 ? 1 : 4;
  Lanes<kBytes> sums[kBatch][kParts] = {}, row, token;
  std::int64_t i = 0;
  for (; i + kParts * kLanes <= count; i += kParts * kLanes)
    for (int part = 0; part < kParts; ++part) {
      load<kBytes>(row, weight + i + part * kLanes);
      for (int b = 0; b < kBatch; ++b) {
        load<kBytes>(token, x + b * count + i + part * kLanes);
        sums[b][part] += row * token;
      }
    }
  for (int b = 0; b < kBatch; ++b) {
    Lanes<kBytes> total = sums[b][0];
    for (int part = 1; part < kParts; ++part) total += sums[b][part];
    out[b] = sum<kBytes>(total);
    for (std::int64_t rest = i; rest < count; ++rest) out[b] += weight[rest] * x[b * count + rest];
  }
}

struct Rows {
  template <int kBytes>
  static DFER_INLINE void run(const Linear* layer, const float* x, std::int64_t batch, const float* residual, bool relu,
                              float* out, std::int64_t begin, std::int64_t end) {
    constexpr int kBatch = 4;
    for (std::int64_t row = begin; row < end; ++row) {
      const float* weight = layer->weight + row * layer->in;
      for (std::int64_t b = 0; b < batch;) {
        float values[kBatch];
        const int count = b + kBatch <= batch ? kBatch : 1;
        if (count == kBatch)
          products<kBytes, kBatch>(weight, x + b * layer->in, layer->in, values);
        else
          products<kBytes, 1>(weight, x + b * layer->in, layer->in, values);
        for (int i = 0; i < count; ++i, ++b) {
          float value = values[i] + layer->bias[row];
          if (residual) value += residual[b * layer->out + row];
          out[b * layer->out + row] = relu && value < 0 ? 0 : value;  // NaN stays
        }
      }
    }
  }
};

void linear(const Linear& layer, const float* x, std::int64_t batch, const float* residual, bool relu, float* out,
            int threads) {
  parallel_for(layer.out, threads, [&](std::int64_t begin, std::int64_t end) {
    for_width<Rows>(&layer, x, batch, residual, relu, out, begin, end);
  });
}

void softmax_rows(std::int64_t rows, std::int64_t classes, float* scores) {
  for (std::int64_t row = 0; row < rows; ++row, scores += classes) {
    const float highest = *std::max_element(scores, scores + classes);
    float total = 0;
    for (std::int64_t k = 0; k < classes; ++k) total += scores[k] = std::exp(scores[k] - highest);
    for (std::int64_t k = 0; k < classes; ++k) scores[k] /= total;
  }
}

std::vector<float> floats(std::int64_t count) { return std::vector<float>(static_cast<std::size_t>(count)); }

void classify(const Linear& classifier, const float* hidden, std::int64_t batch, bool softmax, float* out) {
  linear(classifier, hidden, batch, nullptr, false, out, 1);  // too small to share
  if (softmax) softmax_rows(batch, classifier.out, out);
}

}  // namespace

void token_attention(const FoldedHead& head, const float* x, std::int64_t batch, bool softmax, float* out,
                     int threads) {
  auto hidden = floats(batch * head.attention.out);
  linear(head.attention, x, batch, nullptr, true, hidden.data(), threads);
  classify(head.classifier, hidden.data(), batch, softmax, out);
}

void token_attention(const PrintedHead& head, const float* x, std::int64_t batch, bool softmax, float* out,
                     int threads) {
  auto value = floats(batch * head.value.out), attended = floats(batch * head.project.out);
  auto hidden = floats(batch * head.fc.out);
  linear(head.value, x, batch, nullptr, false, value.data(), threads);
  linear(head.project, value.data(), batch, x, false, attended.data(), threads);
  linear(head.fc, attended.data(), batch, nullptr, true, hidden.data(), threads);
  classify(head.classifier, hidden.data(), batch, softmax, out);
}

}  // namespace dfer
