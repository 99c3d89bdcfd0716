// Local binary patterns on the GPU, ring 1. A thread makes four neighbouring pixels of kLbpRows rows, as bytes of one
// word: three rows are held in registers and each is read once.
#pragma once

#include <cstdint>

#include "lbp/lbp_cuda.h"

namespace dfer {

constexpr int kLbpRows = 8;

// Four pixels x .. x+3 of a row as bytes of `mid`, and the same shifted by one to either side.
struct LbpWord {
  std::uint32_t left, mid, right;
};

template <int kChannels>
struct LbpReader {
  const std::uint8_t* frame;
  std::int64_t height, width;
  bool zero_border;
  bool words;  // rows begin on four bytes and hold whole words

  __device__ std::uint32_t grey(const std::uint8_t* row, std::int64_t x) const {
    if constexpr (kChannels == 1) return row[x];
    const std::uint8_t* const p = row + 3 * x;
    return (9798u * p[0] + 19235u * p[1] + 3735u * p[2] + 16384u) >> 15;
  }

  __device__ std::uint32_t pixel(const std::uint8_t* row, std::int64_t x) const {
    if (x >= 0 && x < width) return grey(row, x);
    return zero_border ? 0u : grey(row, x < 0 ? 0 : width - 1);
  }

  __device__ LbpWord row(std::int64_t y, std::int64_t x) const {
    if (zero_border && (y < 0 || y >= height)) return {0u, 0u, 0u};
    y = y < 0 ? 0 : (y >= height ? height - 1 : y);
    const std::uint8_t* const base = frame + y * width * kChannels;
    std::uint32_t mid = 0;
    if (kChannels == 1 && words) {
      mid = *reinterpret_cast<const std::uint32_t*>(base + x);
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k) mid |= pixel(base, x + k) << (8 * k);
    }
    return {mid << 8 | pixel(base, x - 1), mid, mid >> 8 | pixel(base, x + 4) << 24};
  }
};

__device__ inline std::uint32_t lbp_word(const LbpWord& up, const LbpWord& mid, const LbpWord& down,
                                         const std::uint32_t (&weight)[8]) {
  const std::uint32_t c = mid.mid;
  return (__vcmpgeu4(up.left, c) & weight[0]) | (__vcmpgeu4(up.mid, c) & weight[1]) |
         (__vcmpgeu4(up.right, c) & weight[2]) | (__vcmpgeu4(mid.right, c) & weight[3]) |
         (__vcmpgeu4(down.right, c) & weight[4]) | (__vcmpgeu4(down.mid, c) & weight[5]) |
         (__vcmpgeu4(down.left, c) & weight[6]) | (__vcmpgeu4(mid.left, c) & weight[7]);
}

// Four codes to where they belong; `keep` of them lie inside the row.
struct LbpToCodes {
  std::uint8_t* codes;

  __device__ void operator()(std::int64_t at, std::uint32_t word, int keep, bool words) const {
    if (words) {
      *reinterpret_cast<std::uint32_t*>(codes + at) = word;
      return;
    }
    for (int k = 0; k < keep; ++k) codes[at + k] = static_cast<std::uint8_t>(word >> (8 * k));
  }
};

struct LbpToClip {
  float* clip;
  std::int64_t plane;
  LbpAffine affine;

  __device__ void operator()(std::int64_t at, std::uint32_t word, int keep, bool words) const {
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      float value[4];
#pragma unroll
      for (int k = 0; k < 4; ++k) value[k] = affine.channel[c](static_cast<float>(word >> (8 * k) & 255u));
      float* const target = clip + c * plane + at;
      if (words) {
        *reinterpret_cast<float4*>(target) = make_float4(value[0], value[1], value[2], value[3]);
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k)
          if (k < keep) target[k] = value[k];
      }
    }
  }
};

template <int kChannels, typename Store>
__global__ void __launch_bounds__(256, 2)
    lbp_kernel(const std::uint8_t* __restrict__ frames, LbpShape shape, LbpWeights weights, bool words, Store store) {
  const std::int64_t across = (shape.width + 3) / 4, bands = (shape.height + kLbpRows - 1) / kLbpRows;
  const std::int64_t id = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (id >= shape.frames * bands * across) return;
  const std::int64_t x = id % across * 4, band = id / across % bands, t = id / across / bands;
  const std::int64_t pixels = shape.height * shape.width, first = band * kLbpRows;
  const LbpReader<kChannels> reader{frames + t * pixels * kChannels, shape.height, shape.width, weights.zero_border,
                                    words};
  std::uint32_t spread[8];
#pragma unroll
  for (int k = 0; k < 8; ++k) spread[k] = weights.value[k] * 0x01010101u;
  const int keep = static_cast<int>(min(shape.width - x, std::int64_t{4}));
  LbpWord up = reader.row(first - 1, x), mid = reader.row(first, x);
#pragma unroll
  for (int k = 0; k < kLbpRows; ++k) {
    const std::int64_t y = first + k;
    if (y >= shape.height) return;
    const LbpWord down = reader.row(y + 1, x);
    store(t * pixels + y * shape.width + x, lbp_word(up, mid, down, spread), keep, words);
    up = mid;
    mid = down;
  }
}

}  // namespace dfer
