// Local binary patterns on the GPU, ring 1. A thread makes kWords words of four neighbouring pixels in kLbpRows rows: three
// rows are held in registers, and each is read once. Two pixels are compared at a time, in halves of a word, where a byte
// plus 256 minus another has bit 8 if it is not less.
#pragma once

#include <cstdint>

#include "common/elements.cuh"
#include "common/kernel_launch.cuh"
#include "lbp/lbp_cuda.h"

namespace dfer {

constexpr int kLbpRows = 8;

// Bytes of two words, as `selector` counts them: 0 to 3 of `low`, then 4 to 7 of `high`.
__device__ inline std::uint32_t lbp_bytes(std::uint32_t low, std::uint32_t high, std::uint32_t selector) {
#ifdef __CUDACC__
  return __byte_perm(low, high, selector);
#else
  const std::uint64_t both = std::uint64_t{high} << 32 | low;
  std::uint32_t found = 0;
  for (int k = 0; k < 4; ++k) found |= static_cast<std::uint32_t>(both >> (8 * (selector >> (4 * k) & 7)) & 255) << (8 * k);
  return found;
#endif
}

// Pixels of a row in halves of words: word k has those in even and those in odd columns, and beside them the ones before the
// even columns and after the odd ones. What is before odd columns is even, and what is after even ones is odd.
template <int kWords>
struct LbpRow {
  std::uint32_t even[kWords], odd[kWords], before_even[kWords], after_odd[kWords];
};

// What a thread's place in its frame is: columns x .. x + 4 kWords - 1.
template <int kChannels, int kWords, bool kZero>
struct LbpReader {
  const std::uint8_t *here, *before, *after;  // in the first row: its columns, the one before, the one after
  int height, width, x;
  unsigned stride;
  std::uint32_t keep_before, keep_after;  // 0 where what is there is zero
  bool words;                             // a row holds whole ones

  __device__ LbpReader(const std::uint8_t* frame, int height_, int width_, int x_, bool words_)
      : here(kept_value(frame + kChannels * x_)), before(kept_value(frame + kChannels * max(x_ - 1, 0))),
        after(kept_value(frame + kChannels * min(x_ + 4 * kWords, width_ - 1))), height(height_), width(width_), x(x_),
        stride(kept_value(static_cast<unsigned>(kChannels * width_))), keep_before(kZero && x_ == 0 ? 0u : ~0u),
        keep_after(kZero && x_ + 4 * kWords >= width_ ? 0u : ~0u), words(words_) {}

  __device__ static std::uint32_t grey(const std::uint8_t* p) {
    if constexpr (kChannels == 1) return __ldg(p);
    return (9798u * __ldg(p) + 19235u * __ldg(p + 1) + 3735u * __ldg(p + 2) + 16384u) >> 15;
  }

  // Columns beyond the row, of a last word that is not whole.
  __device__ std::uint32_t pixel(const std::uint8_t* row, int column) const {
    const int beyond = x + column - (width - 1);
    return beyond <= 0 ? grey(row + kChannels * column) : (kZero ? 0u : grey(row + kChannels * (column - beyond)));
  }

  // Row y; those outside the frame are its nearest, or zero.
  __device__ LbpRow<kWords> edge(int y) const { return read(min(max(y, 0), height - 1), y >= 0 && y < height); }

  __device__ LbpRow<kWords> read(int y, bool inside) const {
    const std::uint64_t offset = static_cast<std::uint64_t>(static_cast<unsigned>(y)) * stride;
    const std::uint32_t keep = kZero && !inside ? 0u : ~0u;
    std::uint32_t word[kWords];
    if (kChannels == 1 && (kWords > 1 || words)) {
      if constexpr (kWords == 4) {
        const uint4 read = __ldg(reinterpret_cast<const uint4*>(here + offset));
        word[0] = read.x, word[1] = read.y, word[2] = read.z, word[3] = read.w;
      } else {
        word[0] = __ldg(reinterpret_cast<const std::uint32_t*>(here + offset));
      }
    } else {
#pragma unroll
      for (int k = 0; k < kWords; ++k) {
        word[k] = 0;
#pragma unroll
        for (int byte = 0; byte < 4; ++byte) word[k] |= pixel(here + offset, 4 * k + byte) << (8 * byte);
      }
    }
    LbpRow<kWords> found;
#pragma unroll
    for (int k = 0; k < kWords; ++k) {
      found.even[k] = word[k] & 0x00ff00ffu & keep;
      found.odd[k] = lbp_bytes(word[k] & keep, 0u, 0x4341);
    }
    // The second half of the word before, and the first of the word after.
    const std::uint32_t first = (grey(before + offset) & keep_before & keep) << 16, last = grey(after + offset) & keep_after & keep;
#pragma unroll
    for (int k = 0; k < kWords; ++k) {
      found.before_even[k] = lbp_bytes(k ? found.odd[k - 1] : first, found.odd[k], 0x5432);
      found.after_odd[k] = lbp_bytes(found.even[k], k + 1 < kWords ? found.even[k + 1] : last, 0x5432);
    }
    return found;
  }
};

// Values of the neighbours, as words, which instructions take from where the parameters are.
struct LbpValues {
  std::uint32_t of[8];
};

template <int kWords>
__device__ inline std::uint32_t lbp_word(const LbpRow<kWords>& up, const LbpRow<kWords>& mid, const LbpRow<kWords>& down,
                                         int k, const LbpValues& values) {
  // Pixels beside even and odd columns, clockwise from the top left.
  const std::uint32_t even[8] = {up.before_even[k], up.even[k],   up.odd[k],           mid.odd[k],
                                 down.odd[k],       down.even[k], down.before_even[k], mid.before_even[k]};
  const std::uint32_t odd[8] = {up.even[k],        up.odd[k],   up.after_odd[k], mid.after_odd[k],
                                down.after_odd[k], down.odd[k], down.even[k],    mid.even[k]};
  const std::uint32_t less_even = 0x01000100u - mid.even[k], less_odd = 0x01000100u - mid.odd[k];
  std::uint32_t code = 0;
#pragma unroll
  for (int n = 0; n < 8; ++n) code += values.of[n] * lbp_bytes(even[n] + less_even, odd[n] + less_odd, 0x7351);
  return code;
}

// Codes to where they belong; `keep` of them lie inside the row.
struct LbpToCodes {
  std::uint8_t* codes;

  template <int kWords>
  __device__ void operator()(std::int64_t at, const Pack<std::uint32_t, kWords>& words, int keep, bool whole) const {
    if (whole) {
      store_pack<std::uint32_t, kWords>(reinterpret_cast<std::uint32_t*>(codes + at), words);
      return;
    }
    for (int k = 0; k < keep; ++k) codes[at + k] = static_cast<std::uint8_t>(words.value[k / 4] >> (8 * (k % 4)));
  }
};

struct LbpToClip {
  float* clip;
  std::int64_t plane;
  LbpAffine affine;

  template <int kWords>
  __device__ void operator()(std::int64_t at, const Pack<std::uint32_t, kWords>& words, int keep, bool whole) const {
#pragma unroll
    for (int c = 0; c < 3; ++c)
#pragma unroll
      for (int w = 0; w < kWords; ++w) {
        Pack<float, 4> four;
#pragma unroll
        for (int k = 0; k < 4; ++k)
          four.value[k] = affine.channel[c](static_cast<float>(words.value[w] >> (8 * k) & 255u));
        float* const target = clip + c * plane + at + 4 * w;
        if (whole) {
          store_pack<float, 4>(target, four);
        } else {
#pragma unroll
          for (int k = 0; k < 4; ++k)
            if (4 * w + k < keep) target[k] = four.value[k];
        }
      }
  }
};

// Threads count columns, then bands of rows, then frames.
constexpr int kLbpThreads = 128;

template <int kChannels, int kWords, bool kZero, typename Store>
__global__ void __launch_bounds__(kLbpThreads)
    lbp_kernel(const std::uint8_t* __restrict__ frames, LbpShape shape, LbpValues values, bool words,
               Store store) {
  // Several words a thread are always read and written whole.
  const bool whole = kWords > 1 || words;
  // So are their bands of rows: the last lies at the end of the frame, over what the one before makes alike, and only rows
  // before and after a band can be outside.
  constexpr bool kWholeBands = kWords > 1;
  const int height = static_cast<int>(shape.height), width = static_cast<int>(shape.width);
  const unsigned across = (static_cast<unsigned>(width) + 4 * kWords - 1) / (4 * kWords), bands = (static_cast<unsigned>(height) + kLbpRows - 1) / kLbpRows;
  const unsigned id = blockIdx.x * kLbpThreads + threadIdx.x, line = id / across, t = line / bands;
  if (t >= shape.frames) return;
  const int x = static_cast<int>(id - line * across) * 4 * kWords, band = static_cast<int>(line - t * bands) * kLbpRows;
  const int top = kWholeBands ? min(band, height - kLbpRows) : band;
  const std::int64_t pixels = shape.height * shape.width;
  const LbpReader<kChannels, kWords, kZero> reader(frames + t * pixels * kChannels, height, width, x, whole);
  const int keep = min(width - x, 4 * kWords);
  LbpRow<kWords> up = reader.edge(top - 1), mid = reader.read(top, true);
  std::int64_t at = t * pixels + static_cast<std::int64_t>(top) * width + x;
#pragma unroll
  for (int r = 0; r < kLbpRows; ++r) {
    if (!kWholeBands && top + r >= height) return;
    const bool within = kWholeBands && r + 1 < kLbpRows;
    const LbpRow<kWords> down = within ? reader.read(top + r + 1, true) : reader.edge(top + r + 1);
    Pack<std::uint32_t, kWords> codes;
#pragma unroll
    for (int k = 0; k < kWords; ++k) codes.value[k] = lbp_word<kWords>(up, mid, down, k, values);
    store(at, codes, keep, whole);
    at += width;
    up = mid;
    mid = down;
  }
}

}  // namespace dfer
