// Crop, resample, normalise on the GPU, ring 1. A thread makes one output pixel: whole-numbered weights come from its
// position, so that there are no tables; neighbouring threads share their inputs through the cache.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "clip_to_tensor/clip_to_tensor_cuda.h"

namespace dfer {

// One output's taps on one axis: inputs first .. last, whose weights add up to `whole`. Sides are below 2**15, so that
// every product stays below 2**31.
struct CropTaps {
  int first, last, whole;
  int size, length, output;

  __device__ CropTaps(int length_, int size_, int output_) : size(size_), length(length_), output(output_) {
    if (length > size) {
      first = output * length / size;
      last = ((output + 1) * length + size - 1) / size - 1;
      whole = length;
    } else {
      const int centre = min(max((2 * output + 1) * length - size, 0), 2 * size * (length - 1));
      first = centre / (2 * size);
      last = first + (centre % (2 * size) != 0);
      whole = 2 * size;
    }
  }

  __device__ unsigned weight(int input) const {
    if (length > size) {
      const int end = min((output + 1) * length, (input + 1) * size);
      return static_cast<unsigned>(end - max(output * length, input * size));
    }
    const int centre = min(max((2 * output + 1) * length - size, 0), 2 * size * (length - 1));
    return static_cast<unsigned>(2 * size - abs(centre - 2 * size * input));
  }
};

struct CropPixel {
  unsigned red, green, blue;
};

__device__ inline unsigned crop_byte(int value) { return static_cast<unsigned>(min(max(value >> 20, 0), 255)); }

// BT.601, limited range, in 1 / 2**20, for NV12.
template <bool kNv12>
__device__ inline CropPixel crop_read(const std::uint8_t* frame, const CropFrames& frames, std::int64_t y, int x) {
  if constexpr (!kNv12) {
    const std::uint8_t* const p = frame + y * frames.row_stride + 3 * std::int64_t{x};
    return {__ldg(p), __ldg(p + 1), __ldg(p + 2)};
  }
  const std::uint8_t* const pair = frame + (frames.height + y / 2) * frames.row_stride + (x & ~1);
  const int luma = max(int{__ldg(frame + y * frames.row_stride + x)} - 16, 0) * 1220542 + (1 << 19);
  const int u = int{__ldg(pair)} - 128, v = int{__ldg(pair + 1)} - 128;
  return {crop_byte(luma + 1673527 * v), crop_byte(luma - 409993 * u - 852492 * v), crop_byte(luma + 2116026 * u)};
}

// floor(sum / whole), which is a byte: a quotient in float that is a little too large, one taken back where it was.
__device__ inline unsigned crop_divide(std::uint64_t sum, std::uint64_t whole, float inverse) {
  const auto above = static_cast<unsigned>(__ull2float_rn(sum) * inverse + 0x1p-10f);
  return above - (above * whole > sum ? 1u : 0u);
}

template <bool kNv12>
__device__ CropPixel crop_pixel(const CropFrames& frames, const std::uint8_t* frame, const int* box, int height,
                                int width, int y, int x) {
  const int left = box[0], top = box[1];
  const CropTaps down(max(box[3] - top, 1), height, y), across(max(box[2] - left, 1), width, x);
  const int bottom = static_cast<int>(frames.height) - 1, right = static_cast<int>(frames.width) - 1;
  std::uint64_t red = 0, green = 0, blue = 0;
  for (int i = down.first; i <= down.last; ++i) {
    const int row = min(max(top + i, 0), bottom);
    unsigned r = 0, g = 0, b = 0;
    for (int j = across.first; j <= across.last; ++j) {
      const CropPixel pixel = crop_read<kNv12>(frame, frames, row, min(max(left + j, 0), right));
      const unsigned weight = across.weight(j);
      r += weight * pixel.red;
      g += weight * pixel.green;
      b += weight * pixel.blue;
    }
    const std::uint64_t weight = down.weight(i);
    red += weight * r;
    green += weight * g;
    blue += weight * b;
  }
  const std::uint64_t whole = std::uint64_t(down.whole) * across.whole;
  const float inverse = 1.0f / static_cast<float>(whole);
  return {crop_divide(red + whole / 2, whole, inverse), crop_divide(green + whole / 2, whole, inverse),
          crop_divide(blue + whole / 2, whole, inverse)};
}

struct CropToPixels {
  CropTarget target;

  __device__ void operator()(std::int64_t n, std::int64_t t, int y, int x, CropPixel p) const {
    auto* const to = static_cast<std::uint8_t*>(target.data) + n * target.clip_stride + t * target.frame_stride +
                     3 * (std::int64_t{y} * target.width + x);
    to[0] = static_cast<std::uint8_t>(p.red);
    to[1] = static_cast<std::uint8_t>(p.green);
    to[2] = static_cast<std::uint8_t>(p.blue);
  }
};

template <typename T>
struct CropToPlanes {
  CropTarget target;
  CropAffine affine;

  __device__ void operator()(std::int64_t n, std::int64_t t, int y, int x, CropPixel p) const {
    T* const to = static_cast<T*>(target.data) + n * target.clip_stride + t * target.frame_stride +
                  std::int64_t{y} * target.width + x;
    const unsigned value[3] = {p.red, p.green, p.blue};
#pragma unroll
    for (int c = 0; c < 3; ++c) to[c * target.plane_stride] = T(affine.channel[c](static_cast<float>(value[c])));
  }
};

// Blocks of kCropAcross x kCropDown pixels; blockIdx.x counts crops and rows of blocks, blockIdx.y blocks in a row.
constexpr int kCropAcross = 32, kCropDown = 8;

template <bool kNv12, typename Store>
__global__ void __launch_bounds__(kCropAcross* kCropDown)
    crop_kernel(CropFrames frames, CropBoxes boxes, int height, int width, Store store) {
  const int bands = (height + kCropDown - 1) / kCropDown;
  const std::int64_t crop = blockIdx.x / bands;
  const int y = static_cast<int>(blockIdx.x % bands) * kCropDown + static_cast<int>(threadIdx.y);
  const int x = static_cast<int>(blockIdx.y) * kCropAcross + static_cast<int>(threadIdx.x);
  if (y >= height || x >= width) return;
  const std::int64_t t = crop % frames.count;
  const CropPixel pixel =
      crop_pixel<kNv12>(frames, frames.data + t * frames.frame_stride, boxes.data + 4 * crop, height, width, y, x);
  store(crop / frames.count, t, y, x, pixel);
}

}  // namespace dfer
