// csrc/token_attention against the definition in double.
#include <cmath>
#include <vector>

#include "selftest/selftest.h"
#include "token_attention/token_attention_cpu.h"

namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

struct Layer {
  Layer(std::int64_t in, std::int64_t out, selftest::Noise& noise)
      : in(in), out(out), weight(static_cast<std::size_t>(in * out)), bias(static_cast<std::size_t>(out)) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(in));
    for (auto& value : weight) value = noise.unit() * scale;
    for (auto& value : bias) value = noise.unit();
  }
  dfer::Linear view() const { return {weight.data(), bias.data(), in, out}; }
  Doubles operator()(const Doubles& x, bool relu) const {
    Doubles y(bias.begin(), bias.end());
    for (std::int64_t o = 0; o < out; ++o) {
      double& value = y[static_cast<std::size_t>(o)];
      for (std::int64_t i = 0; i < in; ++i)
        value += static_cast<double>(weight[static_cast<std::size_t>(o * in + i)]) * x[static_cast<std::size_t>(i)];
      if (relu && value < 0) value = 0;
    }
    return y;
  }
  std::int64_t in, out;
  Floats weight, bias;
};

Doubles softmax(Doubles scores) {
  double total = 0;
  for (double& score : scores) total += score = std::exp(score);
  for (double& score : scores) score /= total;
  return scores;
}

void compare(std::int64_t batch, std::int64_t width, std::int64_t hidden, std::int64_t classes, int threads) {
  selftest::Noise noise(static_cast<std::uint64_t>(width * 100 + batch));
  const Layer value(width, width / 2 + 1, noise), project(width / 2 + 1, width, noise), fc(width, hidden, noise),
      classifier(hidden, classes, noise);
  Floats x(static_cast<std::size_t>(batch * width));
  for (auto& one : x) one = noise.unit();
  for (bool probabilities : {false, true}) {
    Floats folded(static_cast<std::size_t>(batch * classes), NAN), printed = folded;
    dfer::token_attention(dfer::FoldedHead{fc.view(), classifier.view()}, x.data(), batch, probabilities, folded.data(),
                          threads);
    dfer::token_attention(dfer::PrintedHead{value.view(), project.view(), fc.view(), classifier.view()}, x.data(), batch,
                          probabilities, printed.data(), threads);
    for (std::int64_t b = 0; b < batch; ++b) {
      const Doubles token(x.begin() + b * width, x.begin() + (b + 1) * width);
      Doubles attended = project(value(token, false), false);
      for (std::size_t i = 0; i < attended.size(); ++i) attended[i] += token[i];
      Doubles plain = classifier(fc(token, true), false), full = classifier(fc(attended, true), false);
      if (probabilities) plain = softmax(plain), full = softmax(full);
      for (std::int64_t k = 0; k < classes; ++k) {
        const auto at = static_cast<std::size_t>(b * classes + k), one = static_cast<std::size_t>(k);
        selftest::expect(std::fabs(folded[at] - plain[one]) < 2e-6, "folded", b * classes + k);
        selftest::expect(std::fabs(printed[at] - full[one]) < 2e-6, "printed", b * classes + k);
      }
    }
  }
}

}  // namespace

int main() {
  for (std::int64_t batch : {1, 3, 4, 9})
    for (std::int64_t width : {1, 15, 16, 64, 67, 131}) compare(batch, width, width == 15 ? 1 : 33, 7, batch == 3 ? 3 : 1);
  return selftest::result("token_attention");
}
