// csrc/lbp against the definition, pixel by pixel.
#include <cmath>
#include <vector>

#include "lbp/lbp_cpu.h"
#include "selftest/far.h"
#include "selftest/selftest.h"

namespace {

using dfer::LbpFrames;
using dfer::LbpRule;

int grey(const LbpFrames& f, std::int64_t t, std::int64_t y, std::int64_t x) {
  const std::uint8_t* const p = f.data + ((t * f.height + y) * f.width + x) * f.channels;
  return f.channels == 1 ? p[0] : (9798 * p[0] + 19235 * p[1] + 3735 * p[2] + 16384) >> 15;
}

int code(const LbpFrames& f, const LbpRule& rule, std::int64_t t, std::int64_t y, std::int64_t x) {
  static const int down[8] = {-1, -1, -1, 0, 1, 1, 1, 0}, across[8] = {-1, 0, 1, 1, 1, 0, -1, -1};
  int sum = 0;
  for (int k = 0; k < 8; ++k) {
    std::int64_t v = y + down[k], u = x + across[k];
    const bool outside = v < 0 || u < 0 || v >= f.height || u >= f.width;
    v = v < 0 ? 0 : v >= f.height ? f.height - 1 : v;
    u = u < 0 ? 0 : u >= f.width ? f.width - 1 : u;
    const int neighbour = outside && rule.zero_border ? 0 : grey(f, t, v, u);
    if (neighbour >= grey(f, t, y, x)) sum += rule.weight[k];
  }
  return sum;
}

void compare(std::int64_t height, std::int64_t width, int channels, bool zero_border) {
  const std::int64_t count = 2, pixels = height * width;
  std::vector<std::uint8_t> frames(static_cast<std::size_t>(count * pixels * channels));
  selftest::Noise noise(static_cast<std::uint64_t>(height * 1000 + width));
  for (auto& byte : frames) byte = noise.byte() & 31;  // few levels, so that neighbours are often equal
  const LbpFrames source{frames.data(), height, width, channels};
  const LbpRule rule{{1, 2, 4, 8, 16, 32, 64, 128}, zero_border};
  const dfer::Affine affine[3] = {{0.5f, 1.0f, 0.0f, 0.0f}, {0.25f, 0.0f, 0.0f, 0.0f}, {1.0f, -3.0f, 0.0f, 0.0f}};
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(count * pixels), 77);
  std::vector<float> planes(static_cast<std::size_t>(3 * count * pixels), NAN);
  std::vector<std::uint8_t> scratch(static_cast<std::size_t>(dfer::lbp_scratch(width)));
  for (std::int64_t t = 0; t < count; ++t) {
    dfer::lbp_codes(source, t, rule, codes.data() + t * pixels, scratch.data());
    dfer::lbp_planes(source, t, rule, affine, planes.data() + t * pixels, count * pixels, scratch.data());
  }
  for (std::int64_t i = 0; i < count * pixels; ++i) {
    const int expected = code(source, rule, i / pixels, i % pixels / width, i % width);
    selftest::expect(codes[static_cast<std::size_t>(i)] == expected, "code", i);
    for (int c = 0; c < 3; ++c) {
      const float value = static_cast<float>(expected) * affine[c].scale_hi - affine[c].bias_hi;
      selftest::expect(planes[static_cast<std::size_t>(c * count * pixels + i)] == value, "plane", i);
    }
  }
}

// The last of more frames than 32 bits can index, into planes as far apart.
void far_frames() {
  const std::int64_t height = 32, width = 64, pixels = height * width, last = selftest::kBeyond32 / pixels;
  const selftest::Far<std::uint8_t> frames((last + 1) * pixels);
  selftest::Noise noise(1);
  for (std::int64_t i = 0; i < pixels; ++i) frames[last * pixels + i] = noise.byte() & 31;
  const LbpFrames source{frames.data(), height, width, 1};
  const LbpRule rule{{1, 2, 4, 8, 16, 32, 64, 128}, false};
  const dfer::Affine affine[3] = {{1, 0, 0, 0}, {2, 0, 0, 0}, {3, 0, 0, 0}};
  const std::int64_t plane = selftest::kBeyond32 + 5;
  const selftest::Far<float> planes(2 * plane + pixels);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(pixels), 77), scratch(static_cast<std::size_t>(dfer::lbp_scratch(width)));
  dfer::lbp_codes(source, last, rule, codes.data(), scratch.data());
  dfer::lbp_planes(source, last, rule, affine, planes.data(), plane, scratch.data());
  for (std::int64_t i = 0; i < pixels; ++i) {
    const int expected = code(source, rule, last, i / width, i % width);
    selftest::expect(codes[static_cast<std::size_t>(i)] == expected, "far code", i);
    for (int c = 0; c < 3; ++c) selftest::expect(planes[c * plane + i] == static_cast<float>((c + 1) * expected), "far plane", i);
  }
}

}  // namespace

int main() {
  far_frames();
  for (int channels : {1, 3})
    for (bool zero_border : {false, true})
      for (std::int64_t width : {1, 2, 13, 63, 64, 65, 131}) {
        compare(1, width, channels, zero_border);
        compare(7, width, channels, zero_border);
        compare(33, width, channels, zero_border);  // more than two strips
      }
  return selftest::result("lbp");
}
