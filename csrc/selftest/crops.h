// The definition of clip_to_tensor's pixels, one at a time, in plain scalar code.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace selftest {

struct Image {
  std::int64_t height, width;
  bool nv12;
  std::vector<std::uint8_t> bytes;  // rows without gaps

  int at(std::int64_t y, std::int64_t x, int c) const {
    y = std::clamp<std::int64_t>(y, 0, height - 1);
    x = std::clamp<std::int64_t>(x, 0, width - 1);
    if (!nv12) return bytes[static_cast<std::size_t>((y * width + x) * 3 + c)];
    const auto pair = static_cast<std::size_t>((height + y / 2) * width + x / 2 * 2);
    const int u = bytes[pair] - 128, v = bytes[pair + 1] - 128;
    const int luma = std::max(bytes[static_cast<std::size_t>(y * width + x)] - 16, 0) * 1220542 + (1 << 19);
    const int colour = c == 0 ? 1673527 * v : c == 1 ? -409993 * u - 852492 * v : 2116026 * u;
    return std::clamp((luma + colour) >> 20, 0, 255);
  }
};

// Weight of input j in output i, in units of 1 / (shrinks ? length : 2 size).
inline std::int64_t weight(std::int64_t length, std::int64_t size, std::int64_t i, std::int64_t j) {
  if (length > size)
    return std::max<std::int64_t>(std::min((i + 1) * length, (j + 1) * size) - std::max(i * length, j * size), 0);
  const std::int64_t centre = std::clamp<std::int64_t>((2 * i + 1) * length - size, 0, 2 * size * (length - 1));
  return std::max<std::int64_t>(2 * size - std::abs(centre - 2 * size * j), 0);
}

inline int pixel(const Image& image, const std::int32_t (&box)[4], std::int64_t height, std::int64_t width,
                 std::int64_t y, std::int64_t x, int c) {
  const std::int64_t high = box[3] - box[1], wide = box[2] - box[0];
  std::int64_t sum = 0, whole = 0;
  for (std::int64_t i = 0; i < high; ++i) {
    const std::int64_t down = weight(high, height, y, i);
    if (down == 0) continue;
    for (std::int64_t j = 0; j < wide; ++j) {
      const std::int64_t both = down * weight(wide, width, x, j);
      whole += both;
      if (both) sum += both * image.at(box[1] + i, box[0] + j, c);
    }
  }
  return static_cast<int>((2 * sum + whole) / (2 * whole));
}

struct CropCase {
  std::int32_t box[4];
  std::int64_t height, width;
};

// Shrinking, enlarging, both at once, one pixel, over every edge, beside the frame.
inline const CropCase kCropCases[] = {
    {{2, 3, 31, 34}, 13, 13},   {{2, 3, 15, 14}, 31, 37},  {{0, 0, 20, 5}, 9, 9},     {{5, 6, 6, 7}, 3, 3},
    {{-9, -7, 50, 45}, 17, 17}, {{-9, -7, 5, 6}, 21, 21},  {{90, 9, 110, 29}, 7, 7},  {{-60, -50, -40, -30}, 5, 5},
    {{1, 2, 30, 31}, 29, 29},   {{0, 0, 40, 38}, 1, 1},    {{3, 4, 36, 37}, 64, 64},  {{0, 0, 40, 38}, 7, 70},
};

}  // namespace selftest
