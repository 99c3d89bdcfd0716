#include <algorithm>
#include <cmath>

#include "synthesis/synthesis.h"

namespace dfer::synthesis {
namespace {

std::uint32_t hash(std::uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ (x >> 16);
}

// A pixel on an edge that two triangles share must not be lost to rounding in both: each reaches a hair's breadth over.
constexpr float kEdge = -1e-5f;

// Pixel centres inside one triangle, by weights that are linear in x and y.
struct Setup {
  int x0, x1, y0, y1;
  float wa_x, wa_y, wb_x, wb_y, cx, cy;
  float za, zb, zc;
};

// False when nothing is to be drawn. area > 0: counter-clockwise on a screen whose y goes down, a back face.
inline __attribute__((always_inline)) bool set_up(const float* a, const float* b, const float* c, int width, int height, bool both_sides, Setup& s) {
  const float area = (b[1] - c[1]) * (a[0] - c[0]) + (c[0] - b[0]) * (a[1] - c[1]);
  if (!(std::fabs(area) > 1e-9f) || (area > 0.0f && !both_sides)) return false;
  const float x0 = std::min(a[0], std::min(b[0], c[0])), x1 = std::max(a[0], std::max(b[0], c[0]));
  const float y0 = std::min(a[1], std::min(b[1], c[1])), y1 = std::max(a[1], std::max(b[1], c[1]));
  if (!(x1 >= 0.0f && y1 >= 0.0f && x0 <= static_cast<float>(width) && y0 <= static_cast<float>(height))) return false;
  s.x0 = static_cast<int>(std::max(0.0f, std::ceil(x0 - 0.5f)));
  s.y0 = static_cast<int>(std::max(0.0f, std::ceil(y0 - 0.5f)));
  s.x1 = static_cast<int>(std::min(static_cast<float>(width - 1), std::floor(x1 - 0.5f)));
  s.y1 = static_cast<int>(std::min(static_cast<float>(height - 1), std::floor(y1 - 0.5f)));
  if (s.x0 > s.x1 || s.y0 > s.y1) return false;
  const float scale = 1.0f / area;
  s.wa_x = (b[1] - c[1]) * scale;
  s.wa_y = (c[0] - b[0]) * scale;
  s.wb_x = (c[1] - a[1]) * scale;
  s.wb_y = (a[0] - c[0]) * scale;
  s.cx = c[0];
  s.cy = c[1];
  s.za = a[2];
  s.zb = b[2];
  s.zc = c[2];
  return true;
}

// Eight pixels of a row at a time without a branch: most triangles are narrower than that, and a wrong guess costs
// more than the idle lanes. Lanes outside the triangle write back what they read; buffers have kRowPad floats to spare.
template <bool kKeepTriangle>
inline __attribute__((always_inline)) void scan(const Setup& s, int width, std::int32_t triangle, const Raster& out) {
  for (int y = s.y0; y <= s.y1; ++y) {
    const float dy = static_cast<float>(y) + 0.5f - s.cy;
    const float row_a = s.wa_y * dy, row_b = s.wb_y * dy;
    for (int x0 = s.x0; x0 <= s.x1; x0 += 8) {
      const std::int64_t at = static_cast<std::int64_t>(y) * width + x0;
      float* DFER_RESTRICT depth = out.depth + at;
      std::int32_t* DFER_RESTRICT id = kKeepTriangle ? out.triangle + at : nullptr;
      float* DFER_RESTRICT first = kKeepTriangle ? out.first + at : nullptr;
      float* DFER_RESTRICT second = kKeepTriangle ? out.second + at : nullptr;
      const float start = static_cast<float>(x0) + 0.5f - s.cx;
      const float end = static_cast<float>(s.x1) + 1.0f - s.cx;
      for (int k = 0; k < 8; ++k) {
        const float dx = start + static_cast<float>(k);
        const float wa = s.wa_x * dx + row_a, wb = s.wb_x * dx + row_b, wc = 1.0f - wa - wb;
        const float z = wa * s.za + wb * s.zb + wc * s.zc;
        const float least = std::min(std::min(wa, wb), std::min(wc, end - dx));
        const bool nearer = (least >= kEdge) & (z > depth[k]);
        depth[k] = nearer ? z : depth[k];
        if (kKeepTriangle) {
          id[k] = nearer ? triangle : id[k];
          first[k] = nearer ? wa : first[k];
          second[k] = nearer ? wb : second[k];
        }
      }
    }
  }
}

// Lashes are cards of hairs: a fixed pattern on each card is left out, so that they look half transparent.
void scan_lash(const Setup& s, int width, std::int32_t triangle, std::uint32_t keep, std::uint32_t seed,
               const Raster& out) {
  for (int y = s.y0; y <= s.y1; ++y)
    for (int x = s.x0; x <= s.x1; ++x) {
      const float dx = static_cast<float>(x) + 0.5f - s.cx, dy = static_cast<float>(y) + 0.5f - s.cy;
      const float wa = s.wa_x * dx + s.wa_y * dy, wb = s.wb_x * dx + s.wb_y * dy, wc = 1.0f - wa - wb;
      const float z = wa * s.za + wb * s.zb + wc * s.zc;
      const std::int64_t pixel = static_cast<std::int64_t>(y) * width + x;
      if (std::min(wa, std::min(wb, wc)) < kEdge || z <= out.depth[pixel]) continue;
      const auto cell = static_cast<std::uint32_t>(std::max(wa, 0.0f) * 4.0f) * 8u +
                        static_cast<std::uint32_t>(std::max(wb, 0.0f) * 4.0f);
      if ((hash((static_cast<std::uint32_t>(triangle) * 64u + cell) * 2u + seed) & 255u) >= keep) continue;
      out.depth[pixel] = z;
      out.triangle[pixel] = triangle;
      out.first[pixel] = wa;
      out.second[pixel] = wb;
    }
}

}  // namespace

DFER_CLONES
void rasterise(const float* screen, const Triangles& triangles, const Surface* surfaces, std::uint32_t lash_keep,
               std::uint32_t seed, const Raster& out) {
  Setup setup;
  for (std::int64_t t = 0; t < triangles.count; ++t) {
    const std::uint8_t material = triangles.material[t];
    const std::int32_t* corner = triangles.index + 3 * t;
    if (!set_up(screen + 3 * corner[0], screen + 3 * corner[1], screen + 3 * corner[2], out.width, out.height,
                surfaces[material].double_sided > 0.0f, setup))
      continue;
    if (material == kLash)
      scan_lash(setup, out.width, static_cast<std::int32_t>(t), lash_keep, seed, out);
    else
      scan<true>(setup, out.width, static_cast<std::int32_t>(t), out);
  }
}

DFER_CLONES
void rasterise_depth(const float* screen, const Triangles& triangles, int size, float* depth) {
  const Raster out{size, size, depth, nullptr, nullptr, nullptr};
  Setup setup;
  for (std::int64_t t = 0; t < triangles.count; ++t) {
    const std::uint8_t material = triangles.material[t];
    if (material != kSkin && material < kCaster) continue;
    const std::int32_t* corner = triangles.index + 3 * t;
    // Both sides cast: an open sheet such as a curtain of hair shades too.
    if (!set_up(screen + 3 * corner[0], screen + 3 * corner[1], screen + 3 * corner[2], size, size,
                material >= kCaster, setup))
      continue;
    scan<false>(setup, size, 0, out);
  }
}

}  // namespace dfer::synthesis
