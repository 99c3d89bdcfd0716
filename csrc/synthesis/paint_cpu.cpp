// Layers of a person's maps: clouds, blurred noise, skin, folds. Borders of a blur and of a slope are mirrored
// about the outermost texel.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "synthesis/symmetric.h"
#include "synthesis/synthesis.h"

namespace dfer::synthesis {
namespace {

using Field = std::unique_ptr<float[]>;  // not a vector: what is written whole needs no zeros first

Field field_of(std::int64_t size) { return Field(new float[static_cast<std::size_t>(size)]); }

int mirrored(int at, int size) {
  if (size == 1) return 0;
  while (at < 0 || at >= size) at = at < 0 ? -at : 2 * (size - 1) - at;
  return at;
}

// Half of a Gaussian out to four sigma, from its centre on.
std::vector<float> gaussian(float sigma) {
  const int radius = (static_cast<int>(std::lround(8.0f * sigma + 1.0f)) | 1) / 2;
  std::vector<float> taps(static_cast<std::size_t>(radius) + 1);
  double sum = 0.0;
  for (int pass = 0; pass < 2; ++pass)
    for (int k = 0; k <= radius; ++k) {
      const double tap = std::exp(-0.5 * k * k / (static_cast<double>(sigma) * sigma));
      if (pass == 0) sum += k == 0 ? tap : 2.0 * tap;
      if (pass == 1) taps[static_cast<std::size_t>(k)] = static_cast<float>(tap / sum);
    }
  return taps;
}

// Where each of `size` texels lies on `points` grid points spread over them, and the cubic weights of four neighbours.
struct CubicTap {
  int at[4];
  float weight[4];
};

std::vector<CubicTap> cubic_taps(int points, int size) {
  constexpr float a = -0.75f;
  std::vector<CubicTap> taps(static_cast<std::size_t>(size));
  for (int i = 0; i < size; ++i) {
    const float place = static_cast<float>((i + 0.5) * points / size - 0.5);
    const int first = static_cast<int>(std::floor(place));
    const float t = place - static_cast<float>(first), u = 1.0f - t;
    CubicTap& tap = taps[static_cast<std::size_t>(i)];
    for (int k = 0; k < 4; ++k) tap.at[k] = std::min(std::max(first - 1 + k, 0), points - 1);
    tap.weight[0] = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a;
    tap.weight[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
    tap.weight[2] = ((a + 2) * u - (a + 3)) * u * u + 1;
    tap.weight[3] = 1.0f - tap.weight[0] - tap.weight[1] - tap.weight[2];
  }
  return taps;
}

DFER_CLONES
void add_rows(const float* DFER_RESTRICT a, const float* DFER_RESTRICT b, const float* DFER_RESTRICT c,
              const float* DFER_RESTRICT d, const float* weight, int width, float gain, float* DFER_RESTRICT out) {
  for (int x = 0; x < width; ++x)
    out[x] += gain * (a[x] * weight[0] + b[x] * weight[1] + c[x] * weight[2] + d[x] * weight[3]);
}

DFER_CLONES
void add_scaled(const float* DFER_RESTRICT in, std::int64_t count, float gain, float* DFER_RESTRICT out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] += gain * in[i];
}

// Standard deviation of every fourth texel both ways.
float deviation(const float* in, int width, int height) {
  double sum = 0.0, squares = 0.0;
  std::int64_t count = 0;
  for (int y = 0; y < height; y += 4)
    for (int x = 0; x < width; x += 4, ++count) {
      const double value = in[static_cast<std::int64_t>(y) * width + x];
      sum += value;
      squares += value * value;
    }
  const double mean = sum / static_cast<double>(count);
  return static_cast<float>(std::sqrt(std::max(squares / static_cast<double>(count) - mean * mean, 0.0)));
}

DFER_CLONES
void paint_row(const float* DFER_RESTRICT blotches, const float* DFER_RESTRICT tint, int width, const float* colour,
               float* DFER_RESTRICT out) {
  const float red = colour[0], green = colour[1], blue = colour[2];
  for (int x = 0; x < width; ++x) {
    out[4 * x] = (1.0f + tint[x]) * blotches[x] * red;
    out[4 * x + 1] = (1.0f + tint[width + x]) * blotches[x] * green;
    out[4 * x + 2] = (1.0f + tint[2 * width + x]) * blotches[x] * blue;
    out[4 * x + 3] = 0.0f;
  }
}

DFER_CLONES
void slopes_row(const float* DFER_RESTRICT above, const float* DFER_RESTRICT row, const float* DFER_RESTRICT below,
                const float* DFER_RESTRICT cavity, int first, int last, int left, int right, float* DFER_RESTRICT out) {
  for (int x = first; x < last; ++x) {
    const int l = x + left, r = x + right;
    const float before = above[l] + 2.0f * row[l] + below[l], after = above[r] + 2.0f * row[r] + below[r];
    const float up = above[l] + 2.0f * above[x] + above[r], down = below[l] + 2.0f * below[x] + below[r];
    out[4 * x] = 0.125f * (after - before);
    out[4 * x + 1] = 0.125f * (up - down);
    out[4 * x + 2] = cavity[x];
    out[4 * x + 3] = 0.0f;
  }
}

}  // namespace

void add_cloud(const float* grid, int rows, int columns, float gain, int width, int height, float* out) {
  const std::vector<CubicTap> across = cubic_taps(columns, width), down = cubic_taps(rows, height);
  const Field wide = field_of(static_cast<std::int64_t>(rows) * width);
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < width; ++x) {
      const CubicTap& tap = across[static_cast<std::size_t>(x)];
      float sum = 0.0f;
      for (int k = 0; k < 4; ++k) sum += grid[y * columns + tap.at[k]] * tap.weight[k];
      wide[static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)] = sum;
    }
  for (int y = 0; y < height; ++y) {
    const CubicTap& tap = down[static_cast<std::size_t>(y)];
    const float* row[4];
    for (int k = 0; k < 4; ++k) row[k] = wide.get() + static_cast<std::int64_t>(tap.at[k]) * width;
    add_rows(row[0], row[1], row[2], row[3], tap.weight, width, gain, out + static_cast<std::int64_t>(y) * width);
  }
}

void add_noise(const float* noise, int width, int height, const NoiseDraw& draw, float gain, float* out) {
  const auto fetch = [&](int y, float* row) {
    const float* from = noise + static_cast<std::int64_t>((y + height - draw.down) % height) * width;
    std::copy(from + width - draw.right, from + width, row);
    std::copy(from, from + width - draw.right, row + draw.right);
    if (draw.mirrored) std::reverse(row, row + width);
  };
  const std::int64_t texels = static_cast<std::int64_t>(width) * height;
  if (draw.sigma_x <= 0.0f) {
    std::vector<float> row(static_cast<std::size_t>(width));
    for (int y = 0; y < height; ++y) {
      fetch(y, row.data());
      add_scaled(row.data(), width, gain, out + static_cast<std::int64_t>(y) * width);
    }
    return;
  }
  const Field between = field_of(texels), blurred = field_of(texels);
  smooth(width, height, gaussian(draw.sigma_x), gaussian(draw.sigma_y), mirrored, fetch, between.get(), blurred.get());
  add_scaled(blurred.get(), texels, gain / std::max(deviation(blurred.get(), width, height), 1e-6f), out);
}

void paint_skin(const float* blotches, int width, int height, const Spots& spots, const float* colour, float* out) {
  std::vector<float> tint(static_cast<std::size_t>(3 * width));
  for (int y = 0; y < height; ++y) {
    std::fill(tint.begin(), tint.end(), 0.0f);
    for (int channel = 0; channel < 3; ++channel)
      for (int s = 0; s < spots.count; ++s) {
        const float down = spots.down[static_cast<std::int64_t>(s) * height + y];
        const float share = spots.tint[channel * spots.count + s] * down;
        if (std::abs(share) < 1e-8f) continue;  // most rows are far from a spot
        add_scaled(spots.across + static_cast<std::int64_t>(s) * width, width, share, tint.data() + channel * width);
      }
    const std::int64_t at = static_cast<std::int64_t>(y) * width;
    paint_row(blotches + at, tint.data(), width, colour, out + 4 * at);
  }
}

void slopes(const float* heights, const float* cavity, int width, int height, Texels* out) {
  // In two steps: the compiler puts each into vectors, both in one it does not.
  const Field line = field_of(4 * static_cast<std::int64_t>(width));
  for (int y = 0; y < height; ++y) {
    const std::int64_t at = static_cast<std::int64_t>(y) * width;
    const float* above = heights + static_cast<std::int64_t>(mirrored(y - 1, height)) * width;
    const float* below = heights + static_cast<std::int64_t>(mirrored(y + 1, height)) * width;
    const float *row = heights + at, *dark = cavity + at;
    const int edge = width > 1 ? 1 : 0;  // both neighbours of an outermost texel are the same one
    slopes_row(above, row, below, dark, 0, 1, edge, edge, line.get());
    slopes_row(above, row, below, dark, 1, width - 1, -1, 1, line.get());
    slopes_row(above, row, below, dark, std::max(width - 1, 1), width, -edge, -edge, line.get());
    to_texels(line.get(), 4 * static_cast<std::int64_t>(width), kReliefUnit, out + 4 * at);
  }
}

void fold(const float* drawn, int width, int height, Texels* out) {
  const std::int64_t texels = static_cast<std::int64_t>(width) * height;
  const Field between = field_of(texels), sharp = field_of(texels), soft = field_of(texels);
  const auto fetch = [&](int y, float* row) {
    std::copy(drawn + static_cast<std::int64_t>(y) * width, drawn + static_cast<std::int64_t>(y + 1) * width, row);
  };
  const std::vector<float> narrow = gaussian(0.9f), wide = gaussian(3.0f);
  smooth(width, height, narrow, narrow, mirrored, fetch, between.get(), sharp.get());
  smooth(width, height, wide, wide, mirrored, fetch, between.get(), soft.get());
  for (std::int64_t i = 0; i < texels; ++i) {
    const auto k = static_cast<std::size_t>(i);
    soft[k] = 1.3f * soft[k] - 1.2f * sharp[k];
    sharp[k] = std::min(std::max(1.3f * sharp[k], 0.0f), 1.0f);
  }
  slopes(soft.get(), sharp.get(), width, height, out);
}

}  // namespace dfer::synthesis
