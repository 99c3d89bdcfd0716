// Crop, resample, normalise on the GPU, ring 1. A thread makes a column of output pixels: each row of the frame is summed
// across once, with weights that stay in registers, and added to the outputs that it is part of; a row that two outputs
// share is kept. Weights of rows are a table of the block. No division, call or 64-bit product per pixel.
#pragma once

#include <cstdint>

#include "clip_to_tensor/clip_to_tensor_cuda.h"
#include "common/elements.cuh"
#include "common/kernel_launch.cuh"

namespace dfer {

// One output's taps on one axis of a frame: inputs first .. last, of which the first weighs `head`, the last `tail` (nothing
// where there is one alone), those between `middle`; all together `whole`. Sides are below 2**15: products stay below 2**31.
struct alignas(16) CropTaps {
  int first, last;
  unsigned head, tail;
};

__device__ inline unsigned crop_middle(int length, int size) { return length > size ? static_cast<unsigned>(size) : 0u; }
__device__ inline unsigned crop_whole(int length, int size) { return static_cast<unsigned>(length > size ? length : 2 * size); }

// Of a crop of `length` inputs from `start` on, of which those beyond 0 .. most repeat the edge: their weights are its.
__device__ inline CropTaps crop_taps(int length, int size, int output, int start, int most) {
  CropTaps taps;
  if (length > size) {
    const unsigned begin = static_cast<unsigned>(output * length), end = begin + static_cast<unsigned>(length);
    const unsigned first = begin / static_cast<unsigned>(size), last = (end - 1) / static_cast<unsigned>(size);
    taps = {static_cast<int>(first), static_cast<int>(last), (first + 1) * static_cast<unsigned>(size) - begin,
            end - last * static_cast<unsigned>(size)};
  } else {
    const int centre = min(max((2 * output + 1) * length - size, 0), 2 * size * (length - 1));
    const int first = centre / (2 * size), rest = centre - first * 2 * size;
    taps = {first, first + (rest != 0), static_cast<unsigned>(2 * size - rest), static_cast<unsigned>(rest)};
  }
  const int first = taps.first + start, last = taps.last + start;
  taps.first = min(max(first, 0), most), taps.last = min(max(last, 0), most);
  if (taps.first == taps.last) {
    taps.head = crop_whole(length, size), taps.tail = 0;
  } else {
    const unsigned middle = crop_middle(length, size);
    taps.head += middle * static_cast<unsigned>(taps.first - first);
    taps.tail += middle * static_cast<unsigned>(last - taps.last);
  }
  return taps;
}

struct CropPixel {
  unsigned red, green, blue;
};

__device__ inline unsigned crop_byte(int value) { return static_cast<unsigned>(min(max(value >> 20, 0), 255)); }

// BT.601, limited range, in 1 / 2**20.
__device__ inline CropPixel crop_colour(int y, int u, int v) {
  const int luma = max(y - 16, 0) * 1220542 + (1 << 19);
  u -= 128, v -= 128;
  return {crop_byte(luma + 1673527 * v), crop_byte(luma - 409993 * u - 852492 * v), crop_byte(luma + 2116026 * u)};
}

// The pixel at `p`; of NV12 that is its luma, in column `x` of a row with these pairs of U and V.
template <bool kNv12>
__device__ inline CropPixel crop_read(const std::uint8_t* p, const std::uint8_t* pairs, int x) {
  if constexpr (kNv12) return crop_colour(__ldg(p), __ldg(pairs + (x & ~1)), __ldg(pairs + (x | 1)));
  return {__ldg(p), __ldg(p + 1), __ldg(p + 2)};
}

// How a thread sums a row across: from its first tap on, which is `at` bytes (columns, of NV12) into the row, of `near` to
// the second and `far` to the last, the same where there are no more; `second` is 0 then.
struct CropAcross {
  unsigned at, near, far, count, head, second, middle, tail;
};

template <bool kNv12>
__device__ inline CropAcross crop_across(const CropTaps& taps, unsigned middle) {
  const auto count = static_cast<unsigned>(taps.last - taps.first);
  constexpr unsigned kBytes = kNv12 ? 1 : 3;
  return {kBytes * static_cast<unsigned>(taps.first), kept_value(kBytes * min(count, 1u)), kept_value(kBytes * count), count,
          kept_value(taps.head), kept_value(count > 1 ? middle : 0u), middle, kept_value(taps.tail)};
}

// `row` is at the first tap; with kMany there may be more than three taps.
template <bool kNv12, bool kMany>
__device__ inline CropPixel crop_row(const std::uint8_t* row, const std::uint8_t* pairs, const CropAcross& across) {
  const auto read = [&](unsigned offset) {
    return crop_read<kNv12>(row + offset, pairs, static_cast<int>(across.at + offset));
  };
  const CropPixel a = read(0), b = read(across.near), c = read(across.far);
  CropPixel sum{across.head * a.red + across.second * b.red + across.tail * c.red,
                across.head * a.green + across.second * b.green + across.tail * c.green,
                across.head * a.blue + across.second * b.blue + across.tail * c.blue};
  if constexpr (kMany) {
#pragma unroll 1
    for (unsigned k = 2; k < across.count; ++k) {
      const CropPixel pixel = read(kNv12 ? k : 3 * k);
      sum.red += across.middle * pixel.red;
      sum.green += across.middle * pixel.green;
      sum.blue += across.middle * pixel.blue;
    }
  }
  return sum;
}

// What a block's threads share. Sums below 2**31 are divided by `whole` as (sum * magic) >> (32 + shift).
struct CropShared {
  std::uint64_t whole;
  unsigned magic, shift;
};

// Rounded to nearest: `sum` began with half of `whole`.
__device__ inline unsigned crop_divide(unsigned sum, const CropShared& shared) { return __umulhi(sum, shared.magic) >> shared.shift; }
__device__ inline unsigned crop_divide(std::uint64_t sum, const CropShared& shared) { return static_cast<unsigned>(sum / shared.whole); }

// (2**(30 + bits) / whole + 1) / 2**(30 + bits), with `bits` those of `whole`, is so little above 1 / whole that sums below
// 256 whole are divided exactly, as long as 2**8 whole**2 < 2**(30 + bits). No whole is below 2.
constexpr int kCropNarrowBits = 22;

__device__ inline CropShared crop_division(std::uint64_t whole) {
  int bits = 0;
  while (whole >> bits) ++bits;
  const bool narrow = bits <= kCropNarrowBits;
  return {whole, narrow ? static_cast<unsigned>((std::uint64_t{1} << (30 + bits)) / whole + 1) : 0u, static_cast<unsigned>(bits - 2)};
}

// An output row as the rows before it leave it to a thread: `held` is what the last row that was summed weighs in it, then
// come rows `y` .. `last`, of which the first weighs `first`, the last `tail`, those between as all in the middle.
struct alignas(16) CropDown {
  int y, last;
  unsigned held, tail, first;
};

// From the taps of an output row and those of the one before it, if there is one.
__device__ inline CropDown crop_down(const CropTaps& taps, const CropTaps* before, unsigned middle) {
  if (taps.first == taps.last) return {taps.last, taps.last, 0, taps.head, 0};
  if (before && before->last == taps.first) return {taps.first + 1, taps.last, taps.head, taps.tail, middle};
  return {taps.first, taps.last, 0, taps.tail, taps.head};
}

// `count` outputs of a column; `Sum` holds 256 times `whole`.
template <bool kNv12, bool kMany, typename Sum, typename Put>
__device__ inline void crop_column(const CropFrames& frames, const std::uint8_t* frame, const CropAcross& across,
                                   const CropDown* downs, unsigned middle, int count, const CropShared& shared, Put put) {
  const std::uint8_t* const column = kept_value(frame + across.at);
  const auto row_at = [&](int y) {
    const auto row = static_cast<std::uint64_t>(static_cast<unsigned>(y)), stride = static_cast<std::uint64_t>(frames.row_stride);
    const std::uint8_t* const pairs =
        kNv12 ? frame + (static_cast<std::uint64_t>(frames.height) + row / 2) * stride : nullptr;
    return crop_row<kNv12, kMany>(kept_value(column + row * stride), pairs, across);
  };
  CropPixel row{};
#pragma unroll 1
  for (int k = 0; k < count; ++k) {
    const CropDown down = downs[k];
    Sum red = static_cast<Sum>(shared.whole / 2), green = red, blue = red;
    const auto add = [&](unsigned weight) {
      red += Sum{weight} * row.red, green += Sum{weight} * row.green, blue += Sum{weight} * row.blue;
    };
    add(down.held);
    unsigned weight = down.first;
#pragma unroll 1
    for (int y = down.y; y < down.last; ++y) row = row_at(y), add(weight), weight = middle;
    row = row_at(down.last), add(down.tail);
    put(CropPixel{crop_divide(red, shared), crop_divide(green, shared), crop_divide(blue, shared)});
  }
}

// Where a thread's pixels go, one row of the crop after the other.
struct CropToPixels {
  CropTarget target;

  // What a block keeps in shared memory: registers then hold it, where parameters would be read again for each pixel.
  struct Shared {};
  __device__ Shared shared() const { return {}; }

  struct Put {
    std::uint8_t* to;
    std::int64_t step;

    __device__ void operator()(const CropPixel& p) {
      to[0] = static_cast<std::uint8_t>(p.red);
      to[1] = static_cast<std::uint8_t>(p.green);
      to[2] = static_cast<std::uint8_t>(p.blue);
      to += step;
    }
  };

  __device__ Put at(std::int64_t n, std::int64_t t, int y, int x, const Shared&) const {
    return {static_cast<std::uint8_t*>(target.data) + n * target.clip_stride + t * target.frame_stride +
                3 * (std::int64_t{y} * target.width + x),
            3 * std::int64_t{target.width}};
  }
};

template <typename T>
struct CropToPlanes {
  CropTarget target;
  CropAffine affine;

  struct Shared {
    CropAffine affine;
    std::int64_t step;
  };
  __device__ Shared shared() const { return {affine, target.width}; }

  struct Put {
    T* to;
    std::int64_t step, plane;
    CropAffine affine;

    __device__ void operator()(const CropPixel& p) {
      to[0] = from_float<T>(affine.channel[0](static_cast<float>(p.red)));
      to[plane] = from_float<T>(affine.channel[1](static_cast<float>(p.green)));
      to[2 * plane] = from_float<T>(affine.channel[2](static_cast<float>(p.blue)));
      to += step;
    }
  };

  __device__ Put at(std::int64_t n, std::int64_t t, int y, int x, const Shared& shared) const {
    return {static_cast<T*>(target.data) + n * target.clip_stride + t * target.frame_stride + std::int64_t{y} * target.width + x,
            shared.step, target.plane_stride, shared.affine};
  }
};

// A block makes `rows` rows of a crop: blockIdx is (clip, frame, rows); each warp takes 32 columns, and then others.
constexpr int kCropAcross = 32, kCropWarps = 8, kCropRows = 32;

template <bool kNv12, typename Store>
__global__ void __launch_bounds__(kCropAcross* kCropWarps)
    crop_kernel(CropFrames frames, CropBoxes boxes, int height, int width, int rows, int threads, Store store) {
  __shared__ CropDown downs[kCropRows];
  __shared__ CropTaps taps[kCropRows];
  __shared__ CropShared shared;
  __shared__ typename Store::Shared kept;
  const std::int64_t n = blockIdx.x, t = blockIdx.y;
  const std::int32_t* const box = boxes.data + 4 * (n * frames.count + t);
  const int left = box[0], top = box[1], wide = max(box[2] - left, 1), high = max(box[3] - top, 1);
  const int first = static_cast<int>(blockIdx.z) * rows, count = min(rows, height - first), me = static_cast<int>(threadIdx.x);
  const int right = static_cast<int>(frames.width) - 1, bottom = static_cast<int>(frames.height) - 1;
  const unsigned middle = crop_middle(wide, width), middle_down = crop_middle(high, height);
  if (me < count) taps[me] = crop_taps(high, height, first + me, top, bottom);
  if (me == 0) shared = crop_division(std::uint64_t{crop_whole(high, height)} * crop_whole(wide, width));
  if (me == kCropAcross - 1) kept = store.shared();
  __syncthreads();
  if (me < count) downs[me] = crop_down(taps[me], me ? taps + me - 1 : nullptr, middle_down);
  __syncthreads();
  const std::uint8_t* const frame = frames.data + t * frames.frame_stride;
  const CropShared division = shared;
  for (int x = me; x < width; x += threads) {
    const CropAcross across = crop_across<kNv12>(crop_taps(wide, width, x, left, right), middle);
    const auto put = store.at(n, t, first, x, kept);
    if (division.magic && wide <= 2 * width)
      crop_column<kNv12, false, unsigned>(frames, frame, across, downs, middle_down, count, division, put);
    else if (division.magic)
      crop_column<kNv12, true, unsigned>(frames, frame, across, downs, middle_down, count, division, put);
    else
      crop_column<kNv12, true, std::uint64_t>(frames, frame, across, downs, middle_down, count, division, put);
  }
}

}  // namespace dfer
