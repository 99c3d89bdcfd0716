// csrc/winograd against the definition, in double.
#include <cmath>
#include <vector>

#include "selftest/selftest.h"
#include "winograd/winograd_cpu.h"

namespace {

using Floats = std::vector<float>;

Floats noise(std::int64_t count, std::uint64_t seed) {
  selftest::Noise source(seed);
  Floats values(static_cast<std::size_t>(count));
  for (auto& value : values) value = source.unit();
  return values;
}

// G w G^T with G of Lavin and Gray, of w [K, C, 3, 3].
Floats points_of(const dfer::Winograd& op, const Floats& w) {
  const double g[6][3] = {{1 / 4., 0, 0},           {-1 / 6., -1 / 6., -1 / 6.}, {-1 / 6., 1 / 6., -1 / 6.},
                          {1 / 24., 1 / 12., 1 / 6.}, {1 / 24., -1 / 12., 1 / 6.}, {0, 0, 1}};
  Floats out(static_cast<std::size_t>(36 * op.outputs * op.channels));
  for (std::int64_t k = 0; k < op.outputs; ++k)
    for (std::int64_t c = 0; c < op.channels; ++c)
      for (int i = 0; i < 36; ++i) {
        double total = 0;
        for (int j = 0; j < 9; ++j)
          total += g[i / 6][j / 3] * g[i % 6][j % 3] * w[static_cast<std::size_t>((k * op.channels + c) * 9 + j)];
        const std::int64_t block = i * (op.outputs / 64) + k / 64;
        out[static_cast<std::size_t>((block * op.channels + c) * 64 + k % 64)] = static_cast<float>(total);
      }
  return out;
}

void compare(const dfer::Winograd& op, int threads) {
  const std::int64_t cells = op.images * op.height * op.width;
  const auto seed = static_cast<std::uint64_t>(op.height * 100 + op.width);
  const Floats x = noise(cells * op.channels, seed), w = noise(op.outputs * op.channels * 9, seed + 1),
               bias = noise(op.outputs, seed + 2), weights = points_of(op, w);
  Floats out(static_cast<std::size_t>(cells * op.outputs), NAN);
  Floats scratch(static_cast<std::size_t>(dfer::winograd_scratch(op, threads)), NAN);
  dfer::winograd(op, x.data(), weights.data(), bias.data(), out.data(), scratch.data(), threads);
  for (std::int64_t cell = 0; cell < cells; ++cell)
    for (std::int64_t k = 0; k < op.outputs; k += 7) {
      double total = bias[static_cast<std::size_t>(k)];
      for (int j = 0; j < 9; ++j) {
        const std::int64_t h = cell / op.width % op.height + j / 3 - 1, v = cell % op.width + j % 3 - 1;
        if (h < 0 || h >= op.height || v < 0 || v >= op.width) continue;
        const std::int64_t from = (cell / (op.height * op.width) * op.height + h) * op.width + v;
        for (std::int64_t c = 0; c < op.channels; ++c)
          total += static_cast<double>(x[static_cast<std::size_t>(from * op.channels + c)]) *
                   w[static_cast<std::size_t>((k * op.channels + c) * 9 + j)];
      }
      const float got = out[static_cast<std::size_t>(cell * op.outputs + k)];
      selftest::expect(std::fabs(got - total) < 5e-4, "output", cell * op.outputs + k);
    }
}

}  // namespace

int main() {
  // Sides that end within a tile, fewer tiles than rows of a block, several chunks, more threads than tiles.
  compare({1, 1, 1, 64, 64}, 1);
  compare({1, 3, 5, 64, 128}, 3);
  compare({2, 9, 6, 128, 64}, 2);
  compare({1, 34, 27, 64, 64}, 1);
  return selftest::result("winograd");
}
