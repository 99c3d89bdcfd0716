// csrc/landmark_pool against the definition, cell by cell in double.
#include <cmath>
#include <vector>

#include "landmark_pool/landmark_pool_cpu.h"
#include "selftest/selftest.h"

namespace {

using Floats = std::vector<float>;

Floats noise(std::int64_t count, std::uint64_t seed, float scale = 1, float shift = 0) {
  selftest::Noise source(seed);
  Floats values(static_cast<std::size_t>(count));
  for (auto& value : values) value = source.unit() * scale + shift;
  return values;
}

struct Inputs {
  Floats features, points, over_channels, over_height, over_width;
};

double weight(const dfer::LandmarkPool& op, const Inputs& in, std::int64_t n, std::int64_t j, std::int64_t h,
              std::int64_t w) {
  const float* point = in.points.data() + (n * op.landmarks + j) * 2;
  const double dx = static_cast<double>(w) - point[0], dy = static_cast<double>(h) - point[1];
  return std::exp(-(dx * dx + dy * dy) / (2.0 * op.sigma * op.sigma));
}

double expected(const dfer::LandmarkPool& op, const Inputs& in, bool gated, std::int64_t n, std::int64_t j,
                std::int64_t c) {
  double total = 0, weights = 0;
  for (std::int64_t h = 0; h < op.height; ++h)
    for (std::int64_t w = 0; w < op.width; ++w) {
      double x = in.features[static_cast<std::size_t>(((n * op.channels + c) * op.height + h) * op.width + w)];
      if (gated)
        x *= (in.over_channels[static_cast<std::size_t>((n * op.height + h) * op.width + w)] +
              in.over_height[static_cast<std::size_t>((n * op.channels + c) * op.width + w)] +
              in.over_width[static_cast<std::size_t>((n * op.channels + c) * op.height + h)]) / 3.0;
      const double a = j < op.landmarks ? weight(op, in, n, j, h, w) : 1.0;
      total += a * x;
      weights += a;
    }
  return total / (op.norm_heat && j < op.landmarks ? weights : static_cast<double>(op.height * op.width));
}

void compare(const dfer::LandmarkPool& op, bool gated, int threads) {
  const std::int64_t maps = op.images * op.channels, seed = op.height * 100 + op.width;
  const auto at = [&](int part) { return static_cast<std::uint64_t>(seed * 10 + part); };
  const float reach = static_cast<float>(op.width) * 0.6f;
  Inputs in{noise(maps * op.height * op.width, at(0)), noise(op.images * op.landmarks * 2, at(1), reach, reach),
            noise(op.images * op.height * op.width, at(2)), noise(maps * op.width, at(3)), noise(maps * op.height, at(4))};
  const dfer::TripletGates gates{gated ? in.over_channels.data() : nullptr, gated ? in.over_height.data() : nullptr,
                                 gated ? in.over_width.data() : nullptr};
  Floats out(static_cast<std::size_t>(op.images * (op.landmarks + 1) * op.channels), NAN);
  dfer::landmark_pool(op, in.features.data(), in.points.data(), gates, out.data(), threads);
  std::int64_t i = 0;
  for (std::int64_t n = 0; n < op.images; ++n)
    for (std::int64_t j = 0; j <= op.landmarks; ++j)
      for (std::int64_t c = 0; c < op.channels; ++c, ++i)
        selftest::expect(std::fabs(out[static_cast<std::size_t>(i)] - expected(op, in, gated, n, j, c)) < 2e-6,
                         gated ? "gated vector" : "vector", i);
}

}  // namespace

int main() {
  for (bool norm_heat : {false, true})
    for (bool gated : {false, true})
      for (std::int64_t landmarks : {0, 1, 18, 37})
        for (std::int64_t width : {1, 2, 7, 14, 17})
          compare({2, 9, 5, width, landmarks, 1.4f, norm_heat}, gated, width == 7 ? 3 : 1);
  return selftest::result("landmark_pool");
}
