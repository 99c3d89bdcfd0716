#include "clip_to_tensor/rows_cpu.h"

#include <algorithm>
#include <cstring>

#include "common/half.h"
#include "common/simd.h"

namespace dfer {

namespace {

using i64 = std::int64_t;
using u8 = std::uint8_t;
using u32 = std::uint32_t;

// Four lanes of a pixel: R, G, B and whatever follows.
typedef u32 Lanes __attribute__((vector_size(16)));

inline u8 byte_of(int value) { return static_cast<u8>(std::clamp(value >> 20, 0, 255)); }

// out[x] = (add ? out[x] : 0) + the sum of kTaps weighted rows. A constant number of taps keeps the sums in registers.
template <int kTaps>
inline void weigh_taps(const u8* const* rows, const u32* weight, i64 count, bool add, u32* DFER_RESTRICT out) {
  const u8* row[kTaps];
  u32 w[kTaps];
  for (int k = 0; k < kTaps; ++k) {
    row[k] = rows[k];
    w[k] = weight[k];
  }
  const u32 keep = add ? ~0u : 0u;
  const auto pixel = [&](i64 x) {
    u32 sum = out[x] & keep;
    for (int k = 0; k < kTaps; ++k) sum += w[k] * row[k][x];
    out[x] = sum;
  };
  for (i64 x = 0; x < count; ++x) pixel(x);
}

template <int kTaps>
inline void weigh_pixels(const u32* row, const std::int32_t* first, const u32* weight, i64 width, u32* sums) {
  for (i64 x = 0; x < width; ++x) {
    const u32* const pixel = row + 3 * i64{first[x]};
    Lanes sum = {};
    for (int k = 0; k < kTaps; ++k) {
      Lanes lanes;
      std::memcpy(&lanes, pixel + 3 * k, sizeof lanes);
      sum += lanes * weight[x * kTaps + k];
    }
    std::memcpy(sums + 4 * x, &sum, sizeof sum);
  }
}

}  // namespace

// BT.601, limited range, in 1 / 2**20.
DFER_CLONES void nv12_row(const u8* DFER_RESTRICT luma, const u8* DFER_RESTRICT chroma, i64 left, i64 right,
                          u8* DFER_RESTRICT rgb) {
  for (i64 x = left; x < right; ++x) {
    const int y = std::max(luma[x] - 16, 0) * 1220542 + (1 << 19);
    const int u = chroma[x & ~i64{1}] - 128, v = chroma[x | 1] - 128;
    u8* const pixel = rgb + 3 * (x - left);
    pixel[0] = byte_of(y + 1673527 * v);
    pixel[1] = byte_of(y - 409993 * u - 852492 * v);
    pixel[2] = byte_of(y + 2116026 * u);
  }
}

DFER_CLONES void weigh_rows(const u8* const* rows, const u32* weight, i64 taps, i64 count, u32* out) {
  for (i64 k = 0; k < taps; k += 4) {
    switch (std::min<i64>(taps - k, 4)) {
      case 1: weigh_taps<1>(rows + k, weight + k, count, k > 0, out); break;
      case 2: weigh_taps<2>(rows + k, weight + k, count, k > 0, out); break;
      case 3: weigh_taps<3>(rows + k, weight + k, count, k > 0, out); break;
      default: weigh_taps<4>(rows + k, weight + k, count, k > 0, out);
    }
  }
}

DFER_CLONES void weigh_columns(const u32* row, const std::int32_t* first, const u32* weight, i64 taps, i64 width,
                               u32* sums) {
  switch (taps) {
    case 1: return weigh_pixels<1>(row, first, weight, width, sums);
    case 2: return weigh_pixels<2>(row, first, weight, width, sums);
    case 3: return weigh_pixels<3>(row, first, weight, width, sums);
    case 4: return weigh_pixels<4>(row, first, weight, width, sums);
  }
  for (i64 x = 0; x < width; ++x) {
    const u32* pixel = row + 3 * i64{first[x]};
    Lanes sum = {};
    for (i64 k = 0; k < taps; ++k, pixel += 3) {
      Lanes lanes;
      std::memcpy(&lanes, pixel, sizeof lanes);
      sum += lanes * weight[x * taps + k];
    }
    std::memcpy(sums + 4 * x, &sum, sizeof sum);
  }
}

// A float quotient that is a little too large, and one too many taken back where it was.
DFER_CLONES void divide(u32* DFER_RESTRICT sums, i64 width, u32 whole, u8* DFER_RESTRICT rgb) {
  const float inverse = 1.0f / static_cast<float>(whole);
  const auto divisor = static_cast<std::int32_t>(whole);
  for (i64 x = 0; x < 4 * width; ++x) {
    const auto sum = static_cast<std::int32_t>(sums[x] + whole / 2);
    const auto above = static_cast<std::int32_t>(static_cast<float>(sum) * inverse + 0x1p-10f);
    sums[x] = static_cast<u32>(above - (above * divisor > sum));
  }
  for (i64 x = 0; x < width; ++x)
    for (int c = 0; c < 3; ++c) rgb[3 * x + c] = static_cast<u8>(sums[4 * x + c]);
}

DFER_CLONES void normalise_row(const u8* DFER_RESTRICT rgb, int channel, i64 width, const Affine& affine, DType,
                               float* DFER_RESTRICT out) {
  const Affine map = affine;
  const u8* const bytes = rgb + channel;
  for (i64 x = 0; x < width; ++x) out[x] = map(static_cast<float>(bytes[3 * x]));
}

DFER_CLONES void normalise_row(const u8* DFER_RESTRICT rgb, int channel, i64 width, const Affine& affine, DType dtype,
                               std::uint16_t* DFER_RESTRICT out) {
  const Affine map = affine;
  const u8* const bytes = rgb + channel;
  if (dtype == DType::float16)
    for (i64 x = 0; x < width; ++x) out[x] = half_bits(map(static_cast<float>(bytes[3 * x])));
  else
    for (i64 x = 0; x < width; ++x) out[x] = bfloat16_bits(map(static_cast<float>(bytes[3 * x])));
}

}  // namespace dfer
