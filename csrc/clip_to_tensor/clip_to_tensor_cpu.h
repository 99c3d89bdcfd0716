// Crop, resample, normalise, ring 1: loops on raw pointers. Definition: kernels/clip_to_tensor/reference.py.
#pragma once

#include <cstdint>
#include <vector>

#include "common/affine.h"
#include "common/dtypes.h"

namespace dfer {

// One frame. NV12 is `height` rows of luma and then rows of U, V pairs, all `row_stride` bytes apart.
struct Picture {
  const std::uint8_t* data;
  std::int64_t height, width, row_stride;
  bool nv12;
};

struct CropBox {
  std::int64_t left, top, right, bottom;
};

// Weights of one axis: output i is the sum over k < taps of weight[i * taps + k] * input[first[i] + k], in units of
// 1 / whole. Every output has as many taps, some of weight 0; the first `count[i]` are not.
struct Taps {
  std::vector<std::int32_t> first, count;
  std::vector<std::uint32_t> weight;
  std::int64_t taps = 0, whole = 0, length = 0;

  void fill(std::int64_t length_, std::int64_t size);
  std::int64_t size() const { return static_cast<std::int64_t>(first.size()); }
};

// Memory of one thread, which grows to the largest crop and is used again.
struct CropScratch {
  Taps down, across;
  std::vector<std::uint8_t> rgb, pixels;
  std::vector<const std::uint8_t*> rows;
  std::vector<std::uint32_t> row, padded, sums;
};

// Where the three channels of a crop go: planes of rows that follow each other without gaps.
struct Planes {
  void* data;
  std::int64_t plane_stride;  // elements
  DType dtype;
  Affine affine[3];
};

// The crop [height, width, 3], uint8.
void crop_pixels(const Picture& picture, const CropBox& box, std::int64_t height, std::int64_t width,
                 std::uint8_t* pixels, CropScratch& scratch);

// The crop, normalised, as three planes [height, width].
void crop_planes(const Picture& picture, const CropBox& box, std::int64_t height, std::int64_t width,
                 const Planes& planes, CropScratch& scratch);

}  // namespace dfer
