#include <algorithm>
#include <cmath>
#include <vector>

#include "synthesis/symmetric.h"
#include "synthesis/synthesis.h"

namespace dfer::synthesis {
namespace {

constexpr int kMaxTaps = 64;  // on one side of the centre

// Half of a Gaussian out to two and a half sigma, from its centre on.
std::vector<float> gaussian(float sigma) {
  const int radius = std::min(kMaxTaps, std::max(1, static_cast<int>(std::ceil(2.5f * sigma))));
  std::vector<float> taps(static_cast<std::size_t>(radius) + 1);
  float sum = 0.0f;
  for (int k = 0; k <= radius; ++k) {
    float& tap = taps[static_cast<std::size_t>(k)];
    tap = std::exp(-0.5f * static_cast<float>(k * k) / (sigma * sigma));
    sum += k == 0 ? tap : 2.0f * tap;
  }
  for (float& tap : taps) tap /= sum;
  return taps;
}

DFER_CLONES
void subtract_occlusion(const float* blurred, const float* depth, std::int64_t count, float gain, float* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    // Deeper than its surroundings: shaded. Beyond 2.2 cm it is another surface.
    const float behind = std::min(std::max(blurred[i] - depth[i], 0.0f), 2.2f);
    out[i] -= gain * behind;
  }
}

}  // namespace

void blur(const float* in, int width, int height, float sigma, float* scratch, float* out) {
  const std::vector<float> taps = gaussian(std::max(sigma, 0.05f));
  const auto clamped = [](int at, int size) { return std::min(std::max(at, 0), size - 1); };
  const auto fetch = [&](int y, float* row) {
    const float* from = in + static_cast<std::int64_t>(y) * width;
    std::copy(from, from + width, row);
  };
  smooth(width, height, taps, taps, clamped, fetch, scratch, out);
}

void ambient_occlusion(const float* depth, int width, int height, float background, const Occlusion& settings,
                       float* scratch, float* out) {
  const int half_width = width / 2, half_height = height / 2;
  const std::int64_t half = static_cast<std::int64_t>(half_width) * half_height;
  float* shrunk = scratch;
  float* blurred = scratch + half;
  float* between = scratch + 2 * half;
  for (int y = 0; y < half_height; ++y)
    for (int x = 0; x < half_width; ++x) {
      const float* corner = depth + static_cast<std::int64_t>(2 * y) * width + 2 * x;
      shrunk[y * half_width + x] = 0.25f * (std::max(corner[0], background) + std::max(corner[1], background) +
                                            std::max(corner[width], background) +
                                            std::max(corner[width + 1], background));
    }
  std::fill(out, out + half, 1.0f);
  blur(shrunk, half_width, half_height, settings.small_radius, between, blurred);
  subtract_occlusion(blurred, shrunk, half, settings.small_gain, out);
  blur(shrunk, half_width, half_height, settings.large_radius, between, blurred);
  subtract_occlusion(blurred, shrunk, half, settings.large_gain, out);
  for (std::int64_t i = 0; i < half; ++i) out[i] = std::max(out[i], 0.05f);
}

DFER_CLONES
void to_texels(const float* DFER_RESTRICT in, std::int64_t count, float unit, Texels* DFER_RESTRICT out) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = rounded(in[i] * unit);
}

DFER_CLONES
void add_relief(const Texels* base, const ReliefPatch* patches, const Texels* data, const float* gains, int count,
                int map_width, Texels* map) {
  for (int pass = 0; pass < 2; ++pass)  // all patches restored before any is added: they overlap
    for (int p = 0; p < count; ++p) {
      const ReliefPatch& patch = patches[p];
      const float gain = gains[p];
      const std::int64_t channels = 4 * static_cast<std::int64_t>(patch.width);
      if (pass == 1 && gain == 0.0f) continue;
      for (int y = 0; y < patch.height; ++y) {
        const std::int64_t at = 4 * (static_cast<std::int64_t>(patch.y + y) * map_width + patch.x);
        Texels* DFER_RESTRICT out = map + at;
        if (pass == 0) {
          std::copy(base + at, base + at + channels, out);
          continue;
        }
        const Texels* DFER_RESTRICT in = data + patch.offset + y * channels;
        for (std::int64_t i = 0; i < channels; ++i) out[i] = rounded(static_cast<float>(out[i]) + gain * in[i]);
      }
    }
}

DFER_CLONES
void blend(const float* DFER_RESTRICT alpha, const float* DFER_RESTRICT shade, const float* colour,
           std::int64_t texels, float* DFER_RESTRICT texture) {
  const float c[3] = {colour[0], colour[1], colour[2]};
  for (std::int64_t i = 0; i < texels; ++i) {
    const float a = alpha[i], s = shade == nullptr ? 1.0f : shade[i];
    for (int k = 0; k < 3; ++k) texture[4 * i + k] += a * (c[k] * s - texture[4 * i + k]);
  }
}

namespace {

DFER_CLONES
void cover_row(const float* DFER_RESTRICT texture, const float* DFER_RESTRICT alpha, const float* DFER_RESTRICT shade,
               const float* colour, std::int64_t texels, float* DFER_RESTRICT out) {
  const float c[3] = {colour[0], colour[1], colour[2]};
  for (std::int64_t i = 0; i < texels; ++i) {
    for (int k = 0; k < 3; ++k) {
      const float under = texture[4 * i + k], over = under + alpha[i] * (c[k] * shade[i] - under);
      out[4 * i + k] = std::min(std::max(over, 0.002f), 1.0f);
    }
    out[4 * i + 3] = alpha[i];
  }
}

}  // namespace

void cover(const float* texture, const float* alpha, const float* shade, const float* colour, std::int64_t texels,
           Texels* out) {
  constexpr std::int64_t kChunk = 512;
  float chunk[4 * kChunk];
  for (std::int64_t at = 0; at < texels; at += kChunk) {
    const std::int64_t count = std::min(kChunk, texels - at);
    cover_row(texture + 4 * at, alpha + at, shade + at, colour, count, chunk);
    to_texels(chunk, 4 * count, kTextureUnit, out + 4 * at);
  }
}

}  // namespace dfer::synthesis
