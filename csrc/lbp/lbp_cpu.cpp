#include "lbp/lbp_cpu.h"

#include <algorithm>
#include <cstring>

#include "common/simd.h"

namespace dfer {

namespace {

using u8 = std::uint8_t;
using i8 = std::int8_t;

// Grey less 128, in order as before: AVX2 compares bytes in one instruction only if they are signed, and only by >.
inline i8 level(unsigned grey) { return static_cast<i8>(static_cast<u8>(grey ^ 128u)); }

// BT.601 luma with weights in 1 / 32768, rounded to nearest, halves up.
DFER_CLONES void grey_row(const u8* DFER_RESTRICT rgb, std::int64_t width, i8* DFER_RESTRICT levels) {
  for (std::int64_t x = 0; x < width; ++x) {
    const unsigned sum = 9798u * rgb[3 * x] + 19235u * rgb[3 * x + 1] + 3735u * rgb[3 * x + 2];
    levels[x] = level((sum + 16384u) >> 15);
  }
}

DFER_CLONES void level_row(const u8* DFER_RESTRICT grey, std::int64_t width, i8* DFER_RESTRICT levels) {
  for (std::int64_t x = 0; x < width; ++x) levels[x] = level(grey[x]);
}

// The weight where the neighbour is below the centre, else 0; no branch, since noise would mispredict it.
inline u8 below(i8 neighbour, i8 centre, u8 weight) { return static_cast<u8>(-(centre > neighbour)) & weight; }

// Codes of N pixels from x on. N is a constant so that whole vectors are used, whatever the width. The weights are the
// eight bits: what is not below is the rest of them.
template <int N>
inline void code_block(const i8* DFER_RESTRICT up, const i8* DFER_RESTRICT mid, const i8* DFER_RESTRICT down,
                       const u8* DFER_RESTRICT w, u8* DFER_RESTRICT codes) {
  for (int x = 0; x < N; ++x) {
    const i8 c = mid[x];
    codes[x] = static_cast<u8>(~(below(up[x - 1], c, w[0]) | below(up[x], c, w[1]) | below(up[x + 1], c, w[2]) |
                                 below(mid[x + 1], c, w[3]) | below(down[x + 1], c, w[4]) | below(down[x], c, w[5]) |
                                 below(down[x - 1], c, w[6]) | below(mid[x - 1], c, w[7])));
  }
}

// Codes of rows that lie `stride` apart and whose neighbours on all sides can be read. The last block of a row overlaps
// the one before it, and is of half the size.
DFER_CLONES void code_rows(const i8* rows, std::int64_t stride, std::int64_t count, std::int64_t width,
                           const u8* weight, u8* codes) {
  constexpr int kBlock = 64, kSmall = 32;
  u8 w[8];
  std::memcpy(w, weight, 8);
  for (std::int64_t y = 0; y < count; ++y) {
    const i8* const mid = rows + y * stride;
    u8* const out = codes + y * width;
    std::int64_t x = 0;
    for (; x + kBlock <= width; x += kBlock)
      code_block<kBlock>(mid + x - stride, mid + x, mid + x + stride, w, out + x);
    for (; x < width && width >= kSmall; x += kSmall) {
      x = std::min(x, width - kSmall);
      code_block<kSmall>(mid + x - stride, mid + x, mid + x + stride, w, out + x);
    }
    for (; x < width; ++x) code_block<1>(mid + x - stride, mid + x, mid + x + stride, w, out + x);
  }
}

DFER_CLONES void normalise(const u8* DFER_RESTRICT codes, std::int64_t count, const Affine affine,
                           float* DFER_RESTRICT out) {
  for (std::int64_t x = 0; x < count; ++x) out[x] = affine(static_cast<float>(codes[x]));
}

// A frame in strips of kStrip rows: levels, with a pixel more at either end and a row more above and below.
constexpr std::int64_t kStrip = 16;

class Strip {
 public:
  Strip(const LbpFrames& frames, std::int64_t frame, bool zero_border, i8* scratch)
      : frames_(frames), base_(frames.data + frame * frames.height * frames.width * frames.channels),
        stride_(frames.width + 2), scratch_(scratch), zero_border_(zero_border) {}

  std::int64_t stride() const { return stride_; }

  // First pixel of row y, which is a multiple of kStrip; strips are asked for in order.
  const i8* begin(std::int64_t y) {
    const std::int64_t end = std::min(y + kStrip, frames_.height);
    if (y == 0) {
      fill(-1, 0);
      fill(0, 1);
    } else {
      std::memmove(scratch_, scratch_ + kStrip * stride_, static_cast<std::size_t>(2 * stride_));
    }
    for (std::int64_t row = y + 1; row <= end; ++row) fill(row, row - y + 1);
    return scratch_ + stride_ + 1;
  }

 private:
  void fill(std::int64_t y, std::int64_t slot) {
    const std::int64_t width = frames_.width;
    i8* const target = scratch_ + slot * stride_ + 1;
    if (zero_border_ && (y < 0 || y >= frames_.height)) {
      std::fill_n(target - 1, stride_, level(0));
      return;
    }
    const u8* const source = base_ + std::clamp<std::int64_t>(y, 0, frames_.height - 1) * width * frames_.channels;
    if (frames_.channels == 1)
      level_row(source, width, target);
    else
      grey_row(source, width, target);
    target[-1] = zero_border_ ? level(0) : target[0];
    target[width] = zero_border_ ? level(0) : target[width - 1];
  }

  const LbpFrames& frames_;
  const u8* base_;
  std::int64_t stride_;
  i8* scratch_;
  bool zero_border_;
};

}  // namespace

std::int64_t lbp_scratch(std::int64_t width) { return (kStrip + 2) * (width + 2) + kStrip * width; }

void lbp_codes(const LbpFrames& frames, std::int64_t frame, const LbpRule& rule, u8* codes, u8* scratch) {
  Strip strip(frames, frame, rule.zero_border, reinterpret_cast<i8*>(scratch));
  for (std::int64_t y = 0; y < frames.height; y += kStrip)
    code_rows(strip.begin(y), strip.stride(), std::min(kStrip, frames.height - y), frames.width, rule.weight,
              codes + y * frames.width);
}

void lbp_planes(const LbpFrames& frames, std::int64_t frame, const LbpRule& rule, const Affine affine[3], float* planes,
                std::int64_t plane_stride, u8* scratch) {
  Strip strip(frames, frame, rule.zero_border, reinterpret_cast<i8*>(scratch));
  u8* const codes = scratch + (kStrip + 2) * strip.stride();
  for (std::int64_t y = 0; y < frames.height; y += kStrip) {
    const std::int64_t rows = std::min(kStrip, frames.height - y);
    code_rows(strip.begin(y), strip.stride(), rows, frames.width, rule.weight, codes);
    for (int plane = 0; plane < 3; ++plane)
      normalise(codes, rows * frames.width, affine[plane], planes + plane * plane_stride + y * frames.width);
  }
}

}  // namespace dfer
