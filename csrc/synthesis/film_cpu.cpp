#include <algorithm>

#include "common/bits.h"
#include "synthesis/synthesis.h"

namespace dfer::synthesis {
namespace {

constexpr int kChunk = 64;  // pixels

// x^p for x to 1, 0 where negative, and p in 0.1 to 4, within 1e-5 of it. No calls, no branches: goes into vectors.
DFER_INLINE float power(float x, float p) {
  const std::int32_t bits = static_cast<std::int32_t>(bits_of(std::max(x, 1e-12f)));
  const std::int32_t exponent = (bits - 0x3f350000) >> 23;  // so that the mantissa is about 0.71 to 1.41
  const float m = float_of(static_cast<std::uint32_t>(bits - exponent * (1 << 23)));
  const float s = (m - 1.0f) / (m + 1.0f), t = s * s;
  const float log2 = s * (2.8853901f + t * (0.9617967f + t * (0.5770780f + t * 0.4121986f)));
  const float y = std::max(p * (static_cast<float>(exponent) + log2), -126.0f);
  const std::int32_t whole = static_cast<std::int32_t>(y + 256.5f) - 256;
  const float f = y - static_cast<float>(whole);
  const float exp2 = 1.0f + f * (0.69314718f + f * (0.24022651f + f * (0.05550411f + f * (0.00961813f +
                     f * (0.00133336f + f * 0.00015469f)))));
  return exp2 * float_of(static_cast<std::uint32_t>((whole + 127) * (1 << 23)));
}

}  // namespace

DFER_CLONES
void develop(const float* linear, const float* background, const float* patch, std::int64_t pixels, const Tone& tone,
             float* image) {
  const float gain = tone.shoulder ? 1.15f : 1.0f, bend = tone.shoulder ? 0.25f : 0.0f;
  const float curve = tone.curve, gamma = tone.gamma;
  float light[3 * kChunk], cover[3 * kChunk], shade[3 * kChunk];
  for (std::int64_t start = 0; start < pixels; start += kChunk) {
    const int count = static_cast<int>(std::min<std::int64_t>(kChunk, pixels - start));
    for (int i = 0; i < count; ++i) {
      const float* pixel = linear + 4 * (start + i);
      const float scale = tone.factor / std::max(pixel[3], 0.25f);
      for (int k = 0; k < 3; ++k) {
        light[3 * i + k] = pixel[k] * scale;
        cover[3 * i + k] = pixel[3];
        shade[3 * i + k] = patch == nullptr ? 1.0f : patch[start + i];
      }
    }
    const float* DFER_RESTRICT behind = background + 3 * start;
    float* DFER_RESTRICT out = image + 3 * start;
    for (int i = 0; i < 3 * count; ++i) {
      float x = std::min(std::max(light[i], 0.0f), 4.0f);
      x = x * gain / (1.0f + bend * x);
      x = power(std::min(x, 1.0f), 1.0f / 2.2f) * shade[i];
      x = behind[i] + cover[i] * (x - behind[i]);
      out[i] = x + curve * (x * x * (3.0f - 2.0f * x) - x);
    }
    if (gamma != 1.0f)
      for (int i = 0; i < 3 * count; ++i) {
        const float x = out[i];
        out[i] = power(std::min(x, 1.0f), gamma);
      }
  }
}

DFER_CLONES
void to_bytes(const float* DFER_RESTRICT image, const float* DFER_RESTRICT noise, int noise_channels, float amount,
              std::int64_t pixels, std::uint8_t* DFER_RESTRICT out) {
  float grain[3 * kChunk] = {};
  for (std::int64_t start = 0; start < pixels; start += kChunk) {
    const int count = static_cast<int>(std::min<std::int64_t>(kChunk, pixels - start));
    for (int i = 0; i < count && noise_channels > 0; ++i)
      for (int k = 0; k < 3; ++k) grain[3 * i + k] = noise[noise_channels * (start + i) + k % noise_channels];
    for (int i = 0; i < 3 * count; ++i)
      out[3 * start + i] = static_cast<std::uint8_t>(clamp01(image[3 * start + i] + amount * grain[i]) * 255.0f + 0.5f);
  }
}

}  // namespace dfer::synthesis
