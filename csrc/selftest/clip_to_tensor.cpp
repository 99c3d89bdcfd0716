// csrc/clip_to_tensor against the definition, pixel by pixel; 16-bit floats against the arithmetic of their formats.
#include <algorithm>
#include <cmath>
#include <vector>

#include "clip_to_tensor/clip_to_tensor_cpu.h"
#include "common/half.h"
#include "selftest/crops.h"
#include "selftest/far.h"
#include "selftest/selftest.h"

namespace {

void crops(bool nv12) {
  selftest::Image image{38, 40, nv12, {}};
  image.bytes.resize(static_cast<std::size_t>(nv12 ? 38 * 40 * 3 / 2 : 38 * 40 * 3));
  selftest::Noise noise(nv12);
  for (auto& byte : image.bytes) byte = noise.byte();
  const dfer::Picture picture{image.bytes.data(), 38, 40, nv12 ? 40 : 120, nv12};
  dfer::CropScratch scratch;
  for (const auto& c : selftest::kCropCases) {
    const dfer::CropBox box{c.box[0], c.box[1], c.box[2], c.box[3]};
    const auto count = static_cast<std::size_t>(c.height * c.width);
    std::vector<std::uint8_t> pixels(3 * count, 77);
    std::vector<float> planes(3 * count, NAN);
    dfer::crop_pixels(picture, box, c.height, c.width, pixels.data(), scratch);
    const dfer::Planes to{planes.data(), c.height * c.width, dfer::DType::float32,
                          {{0.5f, 1, 0, 0}, {0.25f, 0, 0, 0}, {1, -3, 0, 0}}};
    dfer::crop_planes(picture, box, c.height, c.width, to, scratch);
    for (std::int64_t y = 0; y < c.height; ++y)
      for (std::int64_t x = 0; x < c.width; ++x)
        for (int k = 0; k < 3; ++k) {
          const int expected = selftest::pixel(image, c.box, c.height, c.width, y, x, k);
          const auto at = static_cast<std::size_t>(y * c.width + x);
          const float value = static_cast<float>(expected) * to.affine[k].scale_hi - to.affine[k].bias_hi;
          selftest::expect(pixels[3 * at + static_cast<std::size_t>(k)] == expected, "pixel", y * c.width + x);
          selftest::expect(planes[static_cast<std::size_t>(k) * count + at] == value, "plane", y * c.width + x);
        }
  }
}

// Crops at the limit of 32-bit sums and beyond it: white stays white, and a half goes up.
void large_sums() {
  for (std::int64_t side : {2896, 2897}) {
    std::vector<std::uint8_t> image(static_cast<std::size_t>(side * side * 3), 255);
    const dfer::Picture picture{image.data(), side, side, side * 3, false};
    dfer::CropScratch scratch;
    std::uint8_t pixels[12] = {};
    dfer::crop_pixels(picture, {0, 0, side, side}, 2, 2, pixels, scratch);
    for (int i = 0; i < 12; ++i) selftest::expect(pixels[i] == 255, "white", i);
    const std::int64_t whole = side * side, black = whole / 2;
    std::fill(image.begin(), image.begin() + 3 * black, std::uint8_t{0});
    dfer::crop_pixels(picture, {0, 0, side, side}, 1, 1, pixels, scratch);
    const std::int64_t expected = (2 * 255 * (whole - black) + whole) / (2 * whole);
    for (int i = 0; i < 3; ++i) selftest::expect(pixels[i] == expected, "half black", i);
  }
}

// Rows and planes farther apart than 32 bits can index.
void far_rows() {
  constexpr std::int64_t kSide = 4, kRow = std::int64_t{1} << 30;
  const selftest::Far<std::uint8_t> image((kSide - 1) * kRow + 3 * kSide);
  std::uint8_t dense[kSide * kSide * 3];
  selftest::Noise noise(3);
  for (std::int64_t y = 0; y < kSide; ++y)
    for (std::int64_t x = 0; x < 3 * kSide; ++x) dense[y * 3 * kSide + x] = image[y * kRow + x] = noise.byte();
  dfer::CropScratch scratch;
  for (std::int64_t size : {3, 4, 5}) {
    const std::int64_t plane = selftest::kBeyond32 + 3;
    const selftest::Far<float> out(2 * plane + size * size);
    std::uint8_t expected[75];
    dfer::crop_pixels({dense, kSide, kSide, 3 * kSide, false}, {0, 0, kSide, kSide}, size, size, expected, scratch);
    dfer::crop_planes({image.data(), kSide, kSide, kRow, false}, {0, 0, kSide, kSide}, size, size,
                      {out.data(), plane, dfer::DType::float32, {{1, 0, 0, 0}, {2, 0, 0, 0}, {3, 0, 0, 0}}}, scratch);
    for (std::int64_t i = 0; i < size * size; ++i)
      for (int c = 0; c < 3; ++c)
        selftest::expect(out[c * plane + i] == static_cast<float>((c + 1) * expected[3 * i + c]), "far plane", i);
  }
}

double value_of(std::uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double magnitude = exponent == 31 ? (fraction ? NAN : INFINITY)
                           : exponent     ? std::ldexp(1024 + fraction, exponent - 25)
                                          : std::ldexp(fraction, -24);
  return half & 0x8000 ? -magnitude : magnitude;
}

// Every half is its own rounding; what lies between two goes to the nearer, ties to the even one.
void halves() {
  for (int bits = 0; bits < 0x7c00; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const double value = value_of(half), next = bits == 0x7bff ? 65536 : value_of(static_cast<std::uint16_t>(bits + 1));
    selftest::expect(dfer::half_bits(static_cast<float>(value)) == half, "half", bits);
    selftest::expect(dfer::half_bits(static_cast<float>(-value)) == (half | 0x8000), "negative half", bits);
    const auto middle = static_cast<float>((value + next) / 2);
    selftest::expect(dfer::half_bits(middle) == bits + (bits & 1), "tie", bits);
    selftest::expect(dfer::half_bits(std::nextafterf(middle, 0)) == half, "below a tie", bits);
    selftest::expect(dfer::half_bits(std::nextafterf(middle, 1e9f)) == bits + 1, "above a tie", bits);
  }
  selftest::expect(dfer::half_bits(INFINITY) == 0x7c00, "infinity", 0);
  selftest::expect(std::isnan(value_of(dfer::half_bits(NAN))), "NaN", 0);
  selftest::expect(dfer::bfloat16_bits(1.0f) == 0x3f80, "bfloat16", 0);
  selftest::expect(dfer::bfloat16_bits(dfer::float_of(0x3f808000u)) == 0x3f80, "bfloat16 tie to even", 0);
  selftest::expect(dfer::bfloat16_bits(dfer::float_of(0x3f818000u)) == 0x3f82, "bfloat16 tie to even", 1);
  selftest::expect((dfer::bfloat16_bits(NAN) & 0x7fff) > 0x7f80, "bfloat16 NaN", 0);
}

}  // namespace

int main() {
  crops(false);
  crops(true);
  large_sums();
  far_rows();
  halves();
  return selftest::result("clip_to_tensor");
}
