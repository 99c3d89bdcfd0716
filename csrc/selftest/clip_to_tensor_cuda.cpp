// The CUDA kernel of clip_to_tensor, run on the CPU, against the definition.
#include <cmath>
#include <vector>

#include "selftest/cuda_on_host.h"
#include "selftest/crops.h"
#include "selftest/far.h"
#include "selftest/selftest.h"

#include "clip_to_tensor/clip_to_tensor_cuda.cuh"

namespace {

template <bool kNv12>
void crops() {
  constexpr int kCount = 2;
  const std::int64_t bytes = kNv12 ? 38 * 40 * 3 / 2 : 38 * 40 * 3;
  std::vector<std::uint8_t> frames(static_cast<std::size_t>(kCount * bytes));
  selftest::Noise noise(kNv12);
  for (auto& byte : frames) byte = noise.byte();
  const dfer::CropFrames source{frames.data(), kCount, 38, 40, bytes, kNv12 ? 40 : 120, kNv12};
  const dfer::CropAffine affine{{{0.5f, 1, 0, 0}, {0.25f, 0, 0, 0}, {1, -3, 0, 0}}};
  for (const auto& c : selftest::kCropCases) {
    const int height = static_cast<int>(c.height), width = static_cast<int>(c.width);
    std::int32_t boxes[kCount][4];
    for (auto& box : boxes) std::copy(c.box, c.box + 4, box);
    const std::int64_t area = c.height * c.width;
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(3 * kCount * area), 77);
    std::vector<float> planes(pixels.size(), NAN);
    const dfer::CropBoxes table{boxes[0], 1};
    const dim3 grid(static_cast<unsigned>(kCount * ((height + dfer::kCropDown - 1) / dfer::kCropDown)),
                    static_cast<unsigned>((width + dfer::kCropAcross - 1) / dfer::kCropAcross));
    const dim3 block(dfer::kCropAcross, dfer::kCropDown);
    const dfer::CropToPixels to_pixels{{pixels.data(), 0, 0, 3 * area, height, width}};
    const dfer::CropToPlanes<float> to_planes{{planes.data(), 0, kCount * area, area, height, width}, affine};
    selftest::launch(grid, block, dfer::crop_kernel<kNv12, dfer::CropToPixels>, source, table, height, width, to_pixels);
    selftest::launch(grid, block, dfer::crop_kernel<kNv12, dfer::CropToPlanes<float>>, source, table, height, width,
                     to_planes);
    for (int t = 0; t < kCount; ++t) {
      const selftest::Image image{38, 40, kNv12, {frames.begin() + t * bytes, frames.begin() + (t + 1) * bytes}};
      for (std::int64_t i = 0; i < area; ++i)
        for (int k = 0; k < 3; ++k) {
          const int expected = selftest::pixel(image, c.box, c.height, c.width, i / c.width, i % c.width, k);
          const float value = static_cast<float>(expected) * affine.channel[k].scale_hi - affine.channel[k].bias_hi;
          selftest::expect(pixels[static_cast<std::size_t>(3 * (t * area + i) + k)] == expected, "pixel", i);
          selftest::expect(planes[static_cast<std::size_t>((k * kCount + t) * area + i)] == value, "plane", i);
        }
    }
  }
}

// Frames, rows, clips and planes farther apart than 32 bits can index.
void far_strides() {
  constexpr std::int64_t kSide = 4, kRow = std::int64_t{1} << 30, kFrame = selftest::kBeyond32 * 2;
  const selftest::Far<std::uint8_t> frames(kFrame + kSide * kRow);
  selftest::Noise noise(3);
  for (std::int64_t y = 0; y < kSide; ++y)
    for (std::int64_t x = 0; x < 3 * kSide; ++x) frames[kFrame + y * kRow + x] = noise.byte();
  const std::int32_t boxes[4][4] = {{0, 0, 4, 4}, {0, 0, 4, 4}, {0, 0, 4, 4}, {0, 0, 4, 4}};
  const std::int64_t frame = 16, plane = selftest::kBeyond32 + 64, clip = 3 * plane;
  const selftest::Far<float> out(clip + 2 * plane + 2 * frame);
  const dfer::CropToPlanes<float> store{{out.data(), clip, plane, frame, 4, 4}, {{{1, 0, 0, 0}, {2, 0, 0, 0}, {3, 0, 0, 0}}}};
  selftest::launch(dim3(4), dim3(dfer::kCropAcross, dfer::kCropDown), dfer::crop_kernel<false, dfer::CropToPlanes<float>>,
                   dfer::CropFrames{frames.data(), 2, kSide, kSide, kFrame, kRow, false}, dfer::CropBoxes{boxes[0], 2}, 4, 4,
                   store);
  for (std::int64_t n : {0, 1})
    for (std::int64_t i = 0; i < 16; ++i)
      for (int c = 0; c < 3; ++c) {
        const int expected = frames[kFrame + i / 4 * kRow + i % 4 * 3 + c];
        selftest::expect(out[n * clip + c * plane + frame + i] == static_cast<float>((c + 1) * expected), "far pixel", i);
      }
}

// Weights of the longest sides that are accepted: nothing overflows 32 bits.
void longest_sides() {
  static const int kSides[][2] = {{32767, 1},     {32767, 3}, {32767, 32766}, {32767, 32767},
                                  {32766, 32767}, {1, 32767}, {5, 32767},     {30000, 17}};
  for (const auto& side : kSides) {
    const int length = side[0], size = side[1];
    for (int output : {0, 1, size / 3, size / 2, size - 2, size - 1}) {
      if (output < 0 || output >= size) continue;
      const dfer::CropTaps taps(length, size, output);
      std::int64_t sum = 0;
      for (int input = taps.first; input <= taps.last; ++input) {
        selftest::expect(taps.weight(input) == selftest::weight(length, size, output, input), "weight", input);
        sum += taps.weight(input);
      }
      selftest::expect(sum == taps.whole, "sum of weights", output);
    }
  }
}

}  // namespace

int main() {
  crops<false>();
  crops<true>();
  longest_sides();
  far_strides();
  return selftest::result("clip_to_tensor_cuda");
}
