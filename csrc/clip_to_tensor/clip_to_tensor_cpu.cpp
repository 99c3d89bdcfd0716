#include "clip_to_tensor/clip_to_tensor_cpu.h"

#include <algorithm>
#include <cstring>

#include "clip_to_tensor/rows_cpu.h"

namespace dfer {

namespace {

using i64 = std::int64_t;
using u8 = std::uint8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

// Below this, 256 * whole stays inside int32, which the fast division needs.
constexpr i64 kNarrow = i64{1} << 23;

// The part of the crop inside the frame, as RGB rows; at least one pixel, the nearest where the crop lies outside.
struct Inside {
  const u8* rgb;
  i64 row_stride, top, bottom, left, right;  // in frame coordinates

  const u8* row(i64 y) const { return rgb + (std::clamp(y, top, bottom - 1) - top) * row_stride; }
};

Inside inside_of(const Picture& picture, const CropBox& box, CropScratch& scratch) {
  Inside in{};
  in.top = std::clamp<i64>(box.top, 0, picture.height - 1);
  in.bottom = std::max(std::clamp<i64>(box.bottom, 0, picture.height), in.top + 1);
  in.left = std::clamp<i64>(box.left, 0, picture.width - 1);
  in.right = std::max(std::clamp<i64>(box.right, 0, picture.width), in.left + 1);
  if (!picture.nv12) {
    in.rgb = picture.data + in.top * picture.row_stride + in.left * 3;
    in.row_stride = picture.row_stride;
    return in;
  }
  in.row_stride = (in.right - in.left) * 3;
  scratch.rgb.resize(static_cast<std::size_t>((in.bottom - in.top) * in.row_stride));
  for (i64 y = in.top; y < in.bottom; ++y) {
    const u8* const luma = picture.data + y * picture.row_stride;
    const u8* const chroma = picture.data + (picture.height + y / 2) * picture.row_stride;
    nv12_row(luma, chroma, in.left, in.right, scratch.rgb.data() + (y - in.top) * in.row_stride);
  }
  in.rgb = scratch.rgb.data();
  return in;
}

// A crop row by row: vertical weights on what is inside, edges repeated, then horizontal weights and the division.
class Resampler {
 public:
  Resampler(const Picture& picture, const CropBox& box, i64 height, i64 width, CropScratch& scratch)
      : in_(inside_of(picture, box, scratch)), box_(box), width_(width), scratch_(scratch) {
    scratch.down.fill(box.bottom - box.top, height);
    scratch.across.fill(box.right - box.left, width);
    const i64 inner = in_.right - in_.left, outer = box.right - box.left;
    // A few more: pixels are read as four lanes, and taps of weight 0 may lie behind the end.
    scratch.row.resize(static_cast<std::size_t>(3 * (inner + scratch.across.taps) + 1));
    scratch.padded.resize(static_cast<std::size_t>(3 * (outer + scratch.across.taps) + 1));
    scratch.sums.resize(static_cast<std::size_t>(4 * width));
    whole_ = scratch.down.whole * scratch.across.whole;
    pads_ = in_.left != box.left || in_.right != box.right;
    copies_ = !pads_ && outer == width && box.bottom - box.top == height;
  }

  // Row y of the result, RGB interleaved; valid until the next call. `target` is used where it cannot be the frame's.
  const u8* row(i64 y, u8* target) {
    const Taps &down = scratch_.down, &across = scratch_.across;
    const i64 first = box_.top + down.first[static_cast<std::size_t>(y)];
    if (copies_) return in_.row(first);
    const i64 count = down.count[static_cast<std::size_t>(y)], inner = in_.right - in_.left;
    const u32* const weight = down.weight.data() + y * down.taps;
    scratch_.rows.resize(static_cast<std::size_t>(count));
    for (i64 k = 0; k < count; ++k) scratch_.rows[static_cast<std::size_t>(k)] = in_.row(first + k);
    weigh_rows(scratch_.rows.data(), weight, count, 3 * inner, scratch_.row.data());
    const u32* const row = pads_ ? padded() : scratch_.row.data();
    if (whole_ < kNarrow) {
      weigh_columns(row, across.first.data(), across.weight.data(), across.taps, width_, scratch_.sums.data());
      divide(scratch_.sums.data(), width_, static_cast<u32>(whole_), target);
    } else {
      wide_columns(row, target);
    }
    return target;
  }

 private:
  const u32* padded() {
    const i64 outer = box_.right - box_.left;
    for (i64 x = 0; x < outer; ++x) {
      const i64 from = std::clamp(box_.left + x, in_.left, in_.right - 1) - in_.left;
      std::memcpy(scratch_.padded.data() + 3 * x, scratch_.row.data() + 3 * from, 3 * sizeof(u32));
    }
    return scratch_.padded.data();
  }

  // Very large crops, whose sums need 64 bits.
  void wide_columns(const u32* row, u8* target) const {
    const Taps& across = scratch_.across;
    const u64 whole = static_cast<u64>(whole_);
    for (i64 x = 0; x < width_; ++x) {
      const auto at = static_cast<std::size_t>(x);
      for (i64 c = 0; c < 3; ++c) {
        u64 sum = whole / 2;
        for (i64 k = 0; k < across.count[at]; ++k)
          sum += u64{across.weight[static_cast<std::size_t>(x * across.taps + k)]} * row[3 * (across.first[at] + k) + c];
        target[3 * x + c] = static_cast<u8>(sum / whole);
      }
    }
  }

  Inside in_;
  CropBox box_;
  i64 width_, whole_ = 0;
  bool pads_ = false, copies_ = false;
  CropScratch& scratch_;
};

template <typename T>
void planes_of(const u8* rgb, i64 width, i64 y, const Planes& planes) {
  for (int c = 0; c < 3; ++c) {
    T* const plane = static_cast<T*>(planes.data) + c * planes.plane_stride + y * width;
    normalise_row(rgb, c, width, planes.affine[c], planes.dtype, plane);
  }
}

}  // namespace

void Taps::fill(i64 length_, i64 size_) {
  if (length == length_ && size() == size_) return;
  length = length_;
  const bool shrinks = length > size_;
  whole = shrinks ? length : 2 * size_;
  taps = shrinks ? (length + size_ - 1) / size_ + 1 : length == size_ ? 1 : 2;
  first.assign(static_cast<std::size_t>(size_), 0);
  count.assign(static_cast<std::size_t>(size_), 1);
  weight.assign(static_cast<std::size_t>(size_ * taps), 0);
  for (i64 i = 0; i < size_; ++i) {
    const auto at = static_cast<std::size_t>(i);
    u32* const w = weight.data() + i * taps;
    if (shrinks) {
      const i64 begin = i * length / size_, end = ((i + 1) * length + size_ - 1) / size_;
      for (i64 j = begin; j < end; ++j)
        w[j - begin] = static_cast<u32>(std::min((i + 1) * length, (j + 1) * size_) - std::max(i * length, j * size_));
      first[at] = static_cast<std::int32_t>(begin);
      count[at] = static_cast<std::int32_t>(end - begin);
    } else {
      const i64 centre = std::clamp<i64>((2 * i + 1) * length - size_, 0, 2 * size_ * (length - 1));
      const i64 part = centre % (2 * size_);
      w[0] = static_cast<u32>(2 * size_ - part);
      if (part) w[1] = static_cast<u32>(part);
      first[at] = static_cast<std::int32_t>(centre / (2 * size_));
      count[at] = part ? 2 : 1;
    }
  }
}

void crop_pixels(const Picture& picture, const CropBox& box, i64 height, i64 width, u8* pixels, CropScratch& scratch) {
  Resampler resampler(picture, box, height, width, scratch);
  for (i64 y = 0; y < height; ++y) {
    u8* const target = pixels + 3 * y * width;
    const u8* const row = resampler.row(y, target);
    if (row != target) std::memcpy(target, row, static_cast<std::size_t>(3 * width));
  }
}

void crop_planes(const Picture& picture, const CropBox& box, i64 height, i64 width, const Planes& planes,
                 CropScratch& scratch) {
  Resampler resampler(picture, box, height, width, scratch);
  scratch.pixels.resize(static_cast<std::size_t>(3 * width));
  for (i64 y = 0; y < height; ++y) {
    const u8* const row = resampler.row(y, scratch.pixels.data());
    if (planes.dtype == DType::float32)
      planes_of<float>(row, width, y, planes);
    else
      planes_of<std::uint16_t>(row, width, y, planes);
  }
}

}  // namespace dfer
