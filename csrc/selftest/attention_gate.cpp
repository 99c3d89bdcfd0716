// csrc/attention_gate against the definition in double.
#include <cmath>
#include <vector>

#include "attention_gate/attention_gate_cpu.h"
#include "selftest/selftest.h"

namespace {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

std::size_t at(std::int64_t index) { return static_cast<std::size_t>(index); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

Floats noise(std::int64_t count, selftest::Noise& source) {
  Floats values(at(count));
  for (auto& value : values) value = source.unit();
  return values;
}

struct Mlp {
  Mlp(std::int64_t channels, std::int64_t hidden, selftest::Noise& source)
      : channels(channels), hidden(hidden), weight1(noise(hidden * channels, source)), bias1(noise(hidden, source)),
        weight2(noise(channels * hidden, source)), bias2(noise(channels, source)) {}
  dfer::GateMlp view() const { return {weight1.data(), bias1.data(), weight2.data(), bias2.data(), hidden}; }
  double score(const Doubles& pooled, std::int64_t c) const {
    double total = bias2[at(c)];
    for (std::int64_t h = 0; h < hidden; ++h) {
      double inner = bias1[at(h)];
      for (std::int64_t i = 0; i < channels; ++i) inner += weight1[at(h * channels + i)] * pooled[at(i)];
      if (inner > 0) total += weight2[at(c * hidden + h)] * inner;
    }
    return total;
  }
  std::int64_t channels, hidden;
  Floats weight1, bias1, weight2, bias2;
};

struct Conv {
  Conv(std::int64_t in, std::int64_t out, std::int64_t kernel, selftest::Noise& source)
      : in(in), out(out), kernel(kernel), weight(noise(in * out * kernel * kernel, source)), bias(noise(out, source)) {}
  dfer::GateConv view() const { return {weight.data(), bias.data(), in, out, kernel}; }
  Doubles operator()(const Doubles& planes, std::int64_t height, std::int64_t width) const {
    Doubles result(at(out * height * width));
    for (std::int64_t o = 0, i = 0; o < out; ++o)
      for (std::int64_t h = 0; h < height; ++h)
        for (std::int64_t w = 0; w < width; ++w, ++i) {
          result[at(i)] = bias[at(o)];
          for (std::int64_t p = 0; p < in; ++p)
            for (std::int64_t dy = 0; dy < kernel; ++dy)
              for (std::int64_t dx = 0; dx < kernel; ++dx) {
                const std::int64_t y = h + dy - kernel / 2, x = w + dx - kernel / 2;
                if (y < 0 || x < 0 || y >= height || x >= width) continue;
                result[at(i)] += weight[at(((o * in + p) * kernel + dy) * kernel + dx)] * planes[at((p * height + y) * width + x)];
              }
        }
    return result;
  }
  std::int64_t in, out, kernel;
  Floats weight, bias;
};

struct Case {
  dfer::GateShape shape;
  Floats x;
  Doubles means, maxima;
};

Case make(const dfer::GateShape& shape, selftest::Noise& source) {
  const std::int64_t pixels = shape.height * shape.width;
  Case made{shape, noise(shape.channels * pixels, source), Doubles(at(shape.channels)), Doubles(at(shape.channels), -9)};
  for (std::int64_t i = 0; i < shape.channels * pixels; ++i) {
    made.means[at(i / pixels)] += made.x[at(i)] / static_cast<double>(pixels);
    made.maxima[at(i / pixels)] = std::fmax(made.maxima[at(i / pixels)], made.x[at(i)]);
  }
  return made;
}

// Compares with values [C, H, W] gated in double.
void compare(const Case& in, const Doubles& gated, const Floats& out, const char* what) {
  const auto& s = in.shape;
  if (!s.pool) {
    for (std::size_t i = 0; i < gated.size(); ++i)
      selftest::expect(std::fabs(out[i] - gated[i]) < 2e-6, what, static_cast<long long>(i));
    return;
  }
  std::int64_t i = 0;
  for (std::int64_t c = 0; c < s.channels; ++c)
    for (std::int64_t h = 0; h + 1 < s.height; h += 2)
      for (std::int64_t w = 0; w + 1 < s.width; w += 2, ++i) {
        const double* corner = gated.data() + (c * s.height + h) * s.width + w;
        const double most = std::fmax(std::fmax(corner[0], corner[1]), std::fmax(corner[s.width], corner[s.width + 1]));
        selftest::expect(std::fabs(out[at(i)] - most) < 2e-6, what, i);
      }
}

void all_kinds(const dfer::GateShape& shape, int threads) {
  selftest::Noise source(static_cast<std::uint64_t>(shape.height * 1000 + shape.width));
  const Case in = make(shape, source);
  const std::int64_t pixels = shape.height * shape.width, channels = shape.channels, count = channels * pixels;
  const Mlp first(channels, 5, source), second(channels, 3, source);
  const Conv conv1(1, 3, 3, source), conv2(3, 1, 3, source), wide(2, 1, 7, source);
  Floats out(at(count), NAN);
  Doubles gated(at(count)), plane(at(pixels)), planes(at(2 * pixels), 0);
  for (std::int64_t i = 0; i < count; ++i) gated[at(i)] = in.x[at(i)] * sigmoid(first.score(in.means, i / pixels));
  dfer::se_gate(shape, first.view(), in.x.data(), out.data(), threads);
  compare(in, gated, out, "se");

  for (std::int64_t i = 0; i < count; ++i) plane[at(i % pixels)] += in.x[at(i)] / static_cast<double>(channels);
  Doubles hidden = conv1(plane, shape.height, shape.width);
  for (double& value : hidden) value = std::fmax(value, 0);
  const Doubles spatial = conv2(hidden, shape.height, shape.width);
  for (std::int64_t i = 0; i < count; ++i)
    gated[at(i)] = in.x[at(i)] * sigmoid(sigmoid(first.score(in.means, i / pixels)) * sigmoid(spatial[at(i % pixels)]));
  dfer::ag_gate(shape, first.view(), conv1.view(), conv2.view(), in.x.data(), out.data(), threads);
  compare(in, gated, out, "ag");

  for (std::int64_t i = 0; i < pixels; ++i) planes[at(i)] = -9;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t c = i / pixels, p = i % pixels;
    gated[at(i)] = in.x[at(i)] * sigmoid(first.score(in.means, c) + second.score(in.maxima, c));
    planes[at(p)] = std::fmax(planes[at(p)], gated[at(i)]);
    planes[at(pixels + p)] += gated[at(i)] / static_cast<double>(channels);
  }
  const Doubles map = wide(planes, shape.height, shape.width);
  for (std::int64_t i = 0; i < count; ++i) gated[at(i)] *= sigmoid(map[at(i % pixels)]);
  dfer::cbam_gate(shape, first.view(), second.view(), wide.view(), in.x.data(), out.data(), threads);
  compare(in, gated, out, "cbam");
}

}  // namespace

int main() {
  for (bool pool : {true, false})
    for (std::int64_t width : {2, 3, 8, 15, 16, 17, 33, 64}) {
      all_kinds({6, 5, width, pool}, 1);
      all_kinds({1, 2, width, pool}, 2);
      all_kinds({9, 8, width, pool}, 3);
    }
  return selftest::result("attention_gate");
}
