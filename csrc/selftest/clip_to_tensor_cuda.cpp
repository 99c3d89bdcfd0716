// The CUDA form of clip_to_tensor, run on the CPU by cuda_blocks_on_host.h, against the definition.
#include "clip_to_tensor/clip_to_tensor_cuda.cu"  // NOLINT: the kernels are templates

#include <cmath>
#include <vector>

#include "selftest/crops.h"
#include "selftest/far.h"
#include "selftest/selftest.h"

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
    const auto pixel_error =
        dfer::crop_pixels(source, table, {pixels.data(), 0, 0, 3 * area, height, width}, nullptr);
    const auto plane_error = dfer::crop_planes(source, table, {planes.data(), 0, kCount * area, area, height, width}, affine,
                                               dfer::DType::float32, nullptr);
    selftest::expect(pixel_error == cudaSuccess && plane_error == cudaSuccess, "launch", 0);
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
  const auto error = dfer::crop_planes({frames.data(), 2, kSide, kSide, kFrame, kRow, false}, {boxes[0], 2},
                                       {out.data(), clip, plane, frame, 4, 4}, {{{1, 0, 0, 0}, {2, 0, 0, 0}, {3, 0, 0, 0}}},
                                       dfer::DType::float32, nullptr);
  selftest::expect(error == cudaSuccess, "far launch", 0);
  for (std::int64_t n : {0, 1})
    for (std::int64_t i = 0; i < 16; ++i)
      for (int c = 0; c < 3; ++c) {
        const int expected = frames[kFrame + i / 4 * kRow + i % 4 * 3 + c];
        selftest::expect(out[n * clip + c * plane + frame + i] == static_cast<float>((c + 1) * expected), "far pixel", i);
      }
}

// Weights of the longest sides that are accepted: nothing overflows 32 bits. Those beyond the frame are its edge's.
void longest_sides() {
  static const int kSides[][2] = {{32767, 1},     {32767, 3}, {32767, 32766}, {32767, 32767},
                                  {32766, 32767}, {1, 32767}, {5, 32767},     {30000, 17}};
  for (const auto& side : kSides)
    for (const auto& [start, most] : {std::pair{0, 32766}, {-400, 32766}, {0, 900}, {-1, 0}, {40000, 50}, {-90, 5}}) {
      const int length = side[0], size = side[1];
      for (int output : {0, 1, size / 3, size / 2, size - 2, size - 1}) {
        if (output < 0 || output >= size) continue;
        const dfer::CropTaps taps = dfer::crop_taps(length, size, output, start, most);
        std::vector<std::int64_t> expected(static_cast<std::size_t>(most) + 1, 0);
        for (int input = 0; input < length; ++input)
          expected[static_cast<std::size_t>(std::clamp(input + start, 0, most))] += selftest::weight(length, size, output, input);
        std::int64_t sum = 0;
        for (int input = 0; input <= most; ++input) {
          std::int64_t found = input > taps.first && input < taps.last ? dfer::crop_middle(length, size) : 0;
          if (input == taps.first) found += taps.head;
          if (input == taps.last) found += taps.tail;
          sum += found;
          selftest::expect(found == expected[static_cast<std::size_t>(input)], "weight", input);
        }
        selftest::expect(sum == dfer::crop_whole(length, size), "sum of weights", output);
      }
    }
}

// Quotients of every size of divisor, at and beside what divides without rest: as whole numbers divide.
void division() {
  selftest::Noise noise(9);
  for (int bits = 2; bits <= dfer::kCropNarrowBits; ++bits)
    for (int draw = 0; draw < 200; ++draw) {
      const std::uint64_t low = std::uint64_t{1} << (bits - 1);
      const std::uint64_t whole = draw == 0 ? low : draw == 1 ? 2 * low - 1 : low + static_cast<std::uint64_t>(noise.unit() * 0.5f * static_cast<float>(low) + 0.5f * static_cast<float>(low)) % low;
      const dfer::CropShared shared = dfer::crop_division(whole);
      selftest::expect(shared.magic != 0, "narrow", bits);
      for (std::uint64_t quotient = 0; quotient < 256; ++quotient)
        for (std::int64_t beside : {-1, 0, 1}) {
          const auto sum = static_cast<std::int64_t>(quotient * whole) + beside;
          if (sum < 0) continue;
          selftest::expect(dfer::crop_divide(static_cast<unsigned>(sum), shared) == static_cast<std::uint64_t>(sum) / whole, "quotient", sum);
        }
    }
  selftest::expect(dfer::crop_division(std::uint64_t{1} << dfer::kCropNarrowBits).magic == 0, "wide", 0);
}

// As large as the wide sums: a whole of more than 22 bits.
void wide_sums() {
  const std::int64_t side = 3000;
  std::vector<std::uint8_t> frame(static_cast<std::size_t>(3 * side * side));
  for (std::size_t i = 0; i < frame.size(); ++i) frame[i] = static_cast<std::uint8_t>(250 + i % 6);
  const std::int32_t box[4] = {0, 0, 3000, 3000};
  std::vector<std::uint8_t> pixels(12);
  const auto error = dfer::crop_pixels({frame.data(), 1, side, side, 0, 3 * side, false}, {box, 1}, {pixels.data(), 0, 0, 0, 2, 2}, nullptr);
  selftest::expect(error == cudaSuccess, "wide launch", 0);
  const selftest::Image image{side, side, false, frame};
  for (int i = 0; i < 4; ++i)
    for (int k = 0; k < 3; ++k)
      selftest::expect(pixels[static_cast<std::size_t>(3 * i + k)] == selftest::pixel(image, box, 2, 2, i / 2, i % 2, k), "wide pixel", i);
}

}  // namespace

int main() {
  crops<false>();
  crops<true>();
  longest_sides();
  division();
  wide_sums();
  far_strides();
  return selftest::result("clip_to_tensor_cuda");
}
