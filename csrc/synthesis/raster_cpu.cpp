#include <algorithm>
#include <cstring>

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

// Triangles that are set up side by side, from as many parts of the mesh in turn: what one wrote is then out of the
// store queue when the next one near it reads there.
constexpr int kBlock = 64, kParts = 4;

// Sides that a material shows. kBoth has kFront's bit too.
enum Sides : std::int32_t { kNone = 0, kFront = 1, kBoth = 3 };

struct Block {
  int count;
  int drawn[kBlock];  // lanes that cover a pixel centre, perhaps; count of them
  std::int64_t triangle[kBlock];
  std::int32_t sides[kBlock];
  float a[kBlock][kPoint], b[kBlock][kPoint], c[kBlock][kPoint];  // corners
  std::int32_t x0[kBlock], x1[kBlock], y0[kBlock], y1[kBlock];    // box of pixels, last ones included
  float wa_x[kBlock], wa_y[kBlock], wb_x[kBlock], wb_y[kBlock];   // weights of corners a and b by pixel from corner c
};

DFER_INLINE void gather(const float* screen, const std::int32_t* corner, int lane, Block& block) {
  Quad a, b, c;
  load<16>(a, screen + kPoint * static_cast<std::int64_t>(corner[0]));
  load<16>(b, screen + kPoint * static_cast<std::int64_t>(corner[1]));
  load<16>(c, screen + kPoint * static_cast<std::int64_t>(corner[2]));
  store<16>(block.a[lane], a);
  store<16>(block.b[lane], b);
  store<16>(block.c[lane], c);
}

// First and last whole number at or above `low` - 0.5 and at or below `high` - 0.5, within 0 to size - 1.
DFER_INLINE void box(float low, float high, float size, std::int32_t& first, std::int32_t& last) {
  const float from = std::min(std::max(low - 0.5f, 0.0f), size);
  const float to = std::max(std::min(high - 0.5f, size - 1.0f), -1.0f);
  const auto above = static_cast<std::int32_t>(from), below = static_cast<std::int32_t>(to);
  first = above + (static_cast<float>(above) < from ? 1 : 0);
  last = below - (static_cast<float>(below) > to ? 1 : 0);
}

// area > 0: counter-clockwise on a screen whose y goes down, a back face. A corner that is NaN or infinite draws
// nothing.
DFER_INLINE void set_up(int width, int height, Block& block) {
  std::int32_t keep[kBlock];
  for (int l = 0; l < kBlock; ++l) {
    const float ax = block.a[l][0], ay = block.a[l][1], bx = block.b[l][0], by = block.b[l][1];
    const float cx = block.c[l][0], cy = block.c[l][1];
    const float area = (by - cy) * (ax - cx) + (cx - bx) * (ay - cy);
    const float scale = 1.0f / area;
    block.wa_x[l] = (by - cy) * scale;
    block.wa_y[l] = (cx - bx) * scale;
    block.wb_x[l] = (cy - ay) * scale;
    block.wb_y[l] = (ax - cx) * scale;
    box(std::min(ax, std::min(bx, cx)), std::max(ax, std::max(bx, cx)), static_cast<float>(width), block.x0[l],
        block.x1[l]);
    box(std::min(ay, std::min(by, cy)), std::max(ay, std::max(by, cy)), static_cast<float>(height), block.y0[l],
        block.y1[l]);
    const std::int32_t seen = (area < -1e-9f ? block.sides[l] : 0) | (area > 1e-9f ? block.sides[l] & 2 : 0);
    keep[l] = (block.x0[l] <= block.x1[l]) & (block.y0[l] <= block.y1[l]) & (seen != 0);
  }
  block.count = 0;
  for (int l = 0; l < kBlock; ++l) {
    block.drawn[block.count] = l;
    block.count += keep[l];
  }
}

// Calls draw(block, lane) for all triangles that may cover a pixel centre; sides_of says which sides a material shows.
template <typename SidesOf, typename Draw>
DFER_INLINE void for_each(const float* screen, const Triangles& triangles, int width, int height,
                          const SidesOf& sides_of, const Draw& draw) {
  Block block;
  std::memset(&block, 0, sizeof block);
  const std::int64_t part = (triangles.count + kParts - 1) / kParts;
  for (std::int64_t first = 0; first < part; first += kBlock / kParts) {
    for (int l = 0; l < kBlock; ++l) {
      const std::int64_t within = first + l / kParts, t = within < part ? l % kParts * part + within : triangles.count;
      block.triangle[l] = t;
      block.sides[l] = t < triangles.count ? sides_of(triangles.material[t]) : kNone;
      if (block.sides[l] != kNone) gather(screen, triangles.index + 3 * t, l, block);
    }
    set_up(width, height, block);
    for (int n = 0; n < block.count; ++n) draw(block, block.drawn[n]);
  }
}

// Four pixels of a row at a time without a branch: few triangles are wider, and a wrong guess costs more than idle
// lanes. Lanes outside the triangle write back what they read; buffers have kRowPad entries to spare.
template <bool kKeepTriangle>
DFER_INLINE void scan(const Block& s, int l, int width, const Raster& out) {
  const Quad steps = {0.0f, 1.0f, 2.0f, 3.0f};
  const float wa_x = s.wa_x[l], wb_x = s.wb_x[l], za = s.a[l][2], zb = s.b[l][2], zc = s.c[l][2];
  const Quad edge = kEdge - Quad{}, last = static_cast<float>(s.x1[l]) + 1.0f - s.c[l][0] - Quad{};
  const QuadIndex triangle = static_cast<std::int32_t>(s.triangle[l]) - QuadIndex{};
  for (int y = s.y0[l]; y <= s.y1[l]; ++y) {
    const float dy = static_cast<float>(y) + 0.5f - s.c[l][1];
    const float row_a = s.wa_y[l] * dy, row_b = s.wb_y[l] * dy;
    for (int x = s.x0[l]; x <= s.x1[l]; x += 4) {
      const std::int64_t at = static_cast<std::int64_t>(y) * width + x;
      const Quad dx = static_cast<float>(x) + 0.5f - s.c[l][0] + steps;
      const Quad wa = wa_x * dx + row_a, wb = wb_x * dx + row_b, wc = 1.0f - wa - wb;
      const Quad z = wa * za + wb * zb + wc * zc;
      Quad depth;
      load<16>(depth, out.depth + at);
      const auto nearer = (wa >= edge) & (wb >= edge) & (wc >= edge) & (dx < last) & (z > depth);
      store<16>(out.depth + at, nearer ? z : depth);
      if (kKeepTriangle) {
        Quad first, second;
        QuadIndex id;
        load<16>(first, out.first + at);
        load<16>(second, out.second + at);
        std::memcpy(&id, out.triangle + at, sizeof id);
        store<16>(out.first + at, nearer ? wa : first);
        store<16>(out.second + at, nearer ? wb : second);
        id = nearer ? triangle : id;
        std::memcpy(out.triangle + at, &id, sizeof id);
      }
    }
  }
}

// Lashes are cards of hairs: a fixed pattern on each card is left out, so that they look half transparent.
void scan_lash(const Block& s, int l, int width, std::uint32_t keep, std::uint32_t seed, const Raster& out) {
  const auto triangle = static_cast<std::int32_t>(s.triangle[l]);
  for (int y = s.y0[l]; y <= s.y1[l]; ++y)
    for (int x = s.x0[l]; x <= s.x1[l]; ++x) {
      const float dx = static_cast<float>(x) + 0.5f - s.c[l][0], dy = static_cast<float>(y) + 0.5f - s.c[l][1];
      const float wa = s.wa_x[l] * dx + s.wa_y[l] * dy, wb = s.wb_x[l] * dx + s.wb_y[l] * dy, wc = 1.0f - wa - wb;
      const float z = wa * s.a[l][2] + wb * s.b[l][2] + wc * s.c[l][2];
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
  const auto sides_of = [&](std::uint8_t material) { return surfaces[material].double_sided > 0.0f ? kBoth : kFront; };
  for_each(screen, triangles, out.width, out.height, sides_of, [&](const Block& block, int lane) {
    if (triangles.material[block.triangle[lane]] == kLash)
      scan_lash(block, lane, out.width, lash_keep, seed, out);
    else
      scan<true>(block, lane, out.width, out);
  });
}

DFER_CLONES
void rasterise_depth(const float* screen, const Triangles& triangles, int size, float* depth) {
  const Raster out{size, size, depth, nullptr, nullptr, nullptr};
  // Both sides cast: an open sheet such as a curtain of hair shades too.
  const auto sides_of = [](std::uint8_t material) {
    return material >= kCaster ? kBoth : material == kSkin ? kFront : kNone;
  };
  for_each(screen, triangles, size, size, sides_of,
           [&](const Block& block, int lane) { scan<false>(block, lane, size, out); });
}

}  // namespace dfer::synthesis
