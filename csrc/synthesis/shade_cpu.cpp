#include <algorithm>
#include <cmath>
#include <cstring>

#include "synthesis/synthesis.h"

namespace dfer::synthesis {
namespace {

#define DFER_INLINE inline __attribute__((always_inline))  // into the copy for each vector width

constexpr int kTile = 64;

// Covered pixels of a stretch of one row, one array an attribute: gathered one by one, lit side by side.
struct Tile {
  int count;
  int column[kTile];
  float px[kTile], py[kTile], pz[kTile];
  float nx[kTile], ny[kTile], nz[kTile];
  float albedo[3][kTile];
  float specular[kTile], shininess[kTile], wrap[kTile], open[kTile], lit[kTile];
};

inline float dot(const float* a, const float* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

inline void normalise(float* a) {
  const float scale = 1.0f / std::sqrt(dot(a, a) + 1e-12f);
  for (int k = 0; k < 3; ++k) a[k] *= scale;
}

inline float clamp01(float x) { return std::min(std::max(x, 0.0f), 1.0f); }

inline float smooth(float x) {
  x = clamp01(x);
  return x * x * (3.0f - 2.0f * x);
}

// Four channels of a map at (x + fx, y + fy).
inline void bilinear(const float* map, int width, int x, int y, float fx, float fy, float* out) {
  const float* a = map + 4 * (static_cast<std::int64_t>(y) * width + x);
  const float* b = a + 4 * static_cast<std::int64_t>(width);
  const float w00 = (1.0f - fx) * (1.0f - fy), w01 = fx * (1.0f - fy), w10 = (1.0f - fx) * fy, w11 = fx * fy;
  for (int k = 0; k < 4; ++k) out[k] = w00 * a[k] + w01 * a[4 + k] + w10 * b[k] + w11 * b[4 + k];
}

// Texture, bump-mapped normal and cavity of skin and hair.
DFER_INLINE void shade_skin(const SkinMaps& skin, float u, float v, Tile& tile, int i) {
  u = std::min(std::max(u, 0.0f), static_cast<float>(skin.width) - 1.01f);
  v = std::min(std::max(v, 0.0f), static_cast<float>(skin.height) - 1.01f);
  const int x = static_cast<int>(u), y = static_cast<int>(v);
  float texel[4], relief[4];
  bilinear(skin.texture, skin.width, x, y, u - static_cast<float>(x), v - static_cast<float>(y), texel);
  bilinear(skin.relief, skin.width, x, y, u - static_cast<float>(x), v - static_cast<float>(y), relief);
  const float bare = 1.0f - texel[3];
  float n[3] = {tile.nx[i], tile.ny[i], tile.nz[i]};
  // Tangents of the cylinder that the texture unwraps, made orthogonal to the normal.
  float tangent[3] = {n[2], 0.0f, -n[0]};
  normalise(tangent);
  const float upward[3] = {n[1] * tangent[2] - n[2] * tangent[1], n[2] * tangent[0] - n[0] * tangent[2],
                           n[0] * tangent[1] - n[1] * tangent[0]};
  const float strength = skin.bump * bare;
  for (int k = 0; k < 3; ++k) n[k] -= strength * (relief[0] * tangent[k] + relief[1] * upward[k]);
  normalise(n);
  tile.nx[i] = n[0];
  tile.ny[i] = n[1];
  tile.nz[i] = n[2];
  const float hollow = std::max(0.3f, 1.0f - skin.cavity * bare * relief[2]);
  for (int k = 0; k < 3; ++k) tile.albedo[k][i] = texel[k] * hollow;
  tile.specular[i] *= (0.35f + 0.65f * bare) * hollow;
  tile.wrap[i] *= 0.3f + 0.7f * bare;
}

// Sclera with iris and pupil painted by the angle to the gaze.
DFER_INLINE void shade_eye(const Eyes& eyes, const Eye& eye, Tile& tile, int i) {
  float d[3] = {tile.px[i] - eye.centre[0], tile.py[i] - eye.centre[1], tile.pz[i] - eye.centre[2]};
  normalise(d);
  const float cosine = dot(d, eye.gaze);
  const float inside = (cosine - eyes.cos_iris) / (1.0f - eyes.cos_iris);  // 0 at the limbus, 1 on the axis
  const float iris = smooth(inside * 7.0f + 0.5f);
  const float pupil = smooth((cosine - eyes.cos_pupil) / (1.0f - eyes.cos_pupil) * 3.0f + 0.5f);
  const float across = 1.0f - std::max(0.0f, cosine);
  float streak = 1.0f;
  if (iris > 0.0f && pupil < 1.0f) {
    const float height = dot(d, eye.up);
    const float angle = std::atan2(height, std::sqrt(std::max(0.0f, 1.0f - cosine * cosine - height * height)));
    streak = 1.0f + 0.16f * std::sin(23.0f * angle) + 0.1f * std::sin(41.0f * angle + 1.7f);
  }
  const float rim = 1.0f - eyes.limbus * (1.0f - smooth(inside * 2.6f));
  for (int k = 0; k < 3; ++k) {
    const float redder = k == 0 ? 1.0f : 1.0f - 0.45f * across;  // towards the corners
    const float white = eyes.sclera[k] * (1.0f - 0.35f * across) * redder;
    const float coloured = eyes.iris[k] * (0.65f + 0.55f * std::max(0.0f, inside)) * streak * rim;
    tile.albedo[k][i] = white * (1.0f - iris) + (coloured * (1.0f - pupil) + 0.008f * pupil) * iris;
  }
}

// Lit share of the key light: mean and variance of the depth round the texel bound it from above (Chebyshev), so
// that the shadow's edge is as soft as the maps were blurred.
DFER_INLINE float lit_share(const Lighting& light, float x, float y, float z) {
  const float* b = light.shadow_basis;
  const float p[3] = {x, y, z};
  const float sx = dot(b, p) + light.shadow_half - 0.5f, sy = light.shadow_half - dot(b + 3, p) - 0.5f;
  const float depth = dot(b + 6, p);
  const float edge = static_cast<float>(light.shadow_size) - 1.01f;
  if (!(sx >= 0.0f && sy >= 0.0f && sx < edge && sy < edge)) return 1.0f;
  const int ix = static_cast<int>(sx), iy = static_cast<int>(sy);
  const float fx = sx - static_cast<float>(ix), fy = sy - static_cast<float>(iy);
  const std::int64_t at = static_cast<std::int64_t>(iy) * light.shadow_size + ix;
  const auto sample = [&](const float* map) {
    const float* a = map + at;
    const float* c = a + light.shadow_size;
    return (1.0f - fy) * ((1.0f - fx) * a[0] + fx * a[1]) + fy * ((1.0f - fx) * c[0] + fx * c[1]);
  };
  const float mean = sample(light.shadow_mean);
  const float behind = mean - depth - 0.12f;  // cm; the bias keeps a surface from shading itself
  if (behind <= 0.0f) return 1.0f;
  const float variance = std::max(sample(light.shadow_square) - mean * mean, 0.02f);
  const float bound = variance / (variance + behind * behind);
  return clamp01((bound - 0.2f) * 1.25f);  // the low end of the bound is light leaking through
}

DFER_INLINE void gather(const Scene& scene, const Triangles& triangles, const Raster& raster, const float* occlusion_row,
            std::int64_t pixel, int column, Tile& tile) {
  const int i = tile.count++;
  const std::int32_t t = raster.triangle[pixel];
  const std::int32_t* corner = triangles.index + 3 * static_cast<std::int64_t>(t);
  const float wa = raster.first[pixel], wb = raster.second[pixel], wc = 1.0f - wa - wb;
  const auto mix = [&](const float* values, int stride, int k) {
    return wa * values[stride * static_cast<std::int64_t>(corner[0]) + k] +
           wb * values[stride * static_cast<std::int64_t>(corner[1]) + k] +
           wc * values[stride * static_cast<std::int64_t>(corner[2]) + k];
  };
  tile.column[i] = column;
  tile.px[i] = mix(scene.world, 3, 0);
  tile.py[i] = mix(scene.world, 3, 1);
  tile.pz[i] = mix(scene.world, 3, 2);
  float n[3] = {mix(scene.normals, 3, 0), mix(scene.normals, 3, 1), mix(scene.normals, 3, 2)};
  normalise(n);
  const std::uint8_t material = triangles.material[t];
  const Surface& surface = scene.surfaces[material];
  if (surface.double_sided > 0.0f) {
    const float view[3] = {-tile.px[i], -tile.py[i], scene.camera.distance - tile.pz[i]};
    if (dot(n, view) < 0.0f)
      for (int k = 0; k < 3; ++k) n[k] = -n[k];
  }
  tile.nx[i] = n[0];
  tile.ny[i] = n[1];
  tile.nz[i] = n[2];
  tile.specular[i] = surface.specular;
  tile.shininess[i] = surface.shininess;
  tile.wrap[i] = surface.wrap;
  tile.open[i] = mix(scene.colour, 4, 3);
  if (material == kSkin) {
    shade_skin(scene.skin, mix(scene.uv, 2, 0), mix(scene.uv, 2, 1), tile, i);
  } else if (material == kLeftEye || material == kRightEye) {
    shade_eye(scene.eyes, material == kLeftEye ? scene.eyes.left : scene.eyes.right, tile, i);
  } else {
    for (int k = 0; k < 3; ++k) tile.albedo[k][i] = mix(scene.colour, 4, k);
  }
  tile.open[i] *= std::max(0.05f, 1.0f - scene.light.occlusion_strength * (1.0f - occlusion_row[column / 2]));
  const Lighting& light = scene.light;
  tile.lit[i] = light.shadow_strength > 0.0f
                    ? 1.0f - light.shadow_strength * (1.0f - lit_share(light, tile.px[i], tile.py[i], tile.pz[i]))
                    : 1.0f;
}

// h^n for h in 0..1: exp(n ln h), the logarithm to second order and the exponential by squaring.
inline float gloss(float h, float n) {
  const float short_of = 1.0f - h;
  float e = std::max(0.0f, 1.0f - n * (short_of + 0.5f * short_of * short_of) * (1.0f / 64.0f));
  for (int k = 0; k < 6; ++k) e *= e;
  return e;
}

DFER_INLINE void light_tile(const Lighting& light, float distance, const Tile& tile, float* DFER_RESTRICT red,
                float* DFER_RESTRICT green, float* DFER_RESTRICT blue) {
  float* const out[3] = {red, green, blue};
  float highlight[kTile], fill_highlight[kTile], key[kTile], fill[kTile], rim[kTile];
  const float* kd = light.key.direction;
  const float* fd = light.fill.direction;
  const float* rd = light.rim.direction;
  for (int i = 0; i < kTile; ++i) {
    float vx = -tile.px[i], vy = -tile.py[i], vz = distance - tile.pz[i];
    const float v = 1.0f / std::sqrt(vx * vx + vy * vy + vz * vz);
    vx *= v;
    vy *= v;
    vz *= v;
    const float nx = tile.nx[i], ny = tile.ny[i], nz = tile.nz[i];
    key[i] = nx * kd[0] + ny * kd[1] + nz * kd[2];
    fill[i] = nx * fd[0] + ny * fd[1] + nz * fd[2];
    rim[i] = std::max(0.0f, nx * rd[0] + ny * rd[1] + nz * rd[2]);
    const float scale = tile.specular[i] * (tile.shininess[i] * 0.04f + 0.3f);
    float hx = vx + kd[0], hy = vy + kd[1], hz = vz + kd[2];
    const float h = (nx * hx + ny * hy + nz * hz) / std::sqrt(hx * hx + hy * hy + hz * hz + 1e-9f);
    highlight[i] = (key[i] > 0.0f ? scale : 0.0f) * gloss(std::max(h, 0.0f), tile.shininess[i]);
    hx = vx + fd[0];
    hy = vy + fd[1];
    hz = vz + fd[2];
    const float g = (nx * hx + ny * hy + nz * hz) / std::sqrt(hx * hx + hy * hy + hz * hz + 1e-9f);
    fill_highlight[i] = (fill[i] > 0.0f ? scale : 0.0f) * gloss(std::max(g, 0.0f), tile.shininess[i]);
  }
  for (int c = 0; c < 3; ++c) {
    const float* sh = light.ambient + c;  // sh[3 * k] is coefficient k of this channel
    const float kc = light.key.colour[c], fc = light.fill.colour[c], rc = light.rim.colour[c];
    float* DFER_RESTRICT to = out[c];
    for (int i = 0; i < kTile; ++i) {
      const float x = tile.nx[i], y = tile.ny[i], z = tile.nz[i];
      float ambient = sh[0] + sh[3] * y + sh[6] * z + sh[9] * x + sh[12] * x * y + sh[15] * y * z +
                      sh[18] * (3.0f * z * z - 1.0f) + sh[21] * x * z + sh[24] * (x * x - y * y);
      ambient = std::max(ambient, 0.0f) * tile.open[i];
      const float wrap = light.subsurface[c] * tile.wrap[i], inverse = 1.0f / (1.0f + wrap);
      const float k1 = std::max(0.0f, (key[i] + wrap) * inverse) * tile.lit[i] * (0.45f + 0.55f * tile.open[i]);
      const float k2 = std::max(0.0f, (fill[i] + wrap) * inverse) * tile.open[i];
      const float shine = (highlight[i] * tile.lit[i] * kc + fill_highlight[i] * fc) * (0.3f + 0.7f * tile.open[i]);
      to[i] = tile.albedo[c][i] * (ambient + kc * k1 + fc * k2 + rc * rim[i] * tile.open[i]) + shine;
    }
  }
}

DFER_INLINE void flush(const Scene& scene, Tile& tile, float* out) {
  if (tile.count == 0) return;
  float red[kTile], green[kTile], blue[kTile];
  light_tile(scene.light, scene.camera.distance, tile, red, green, blue);
  for (int i = 0; i < tile.count; ++i) {
    float* pixel = out + 4 * tile.column[i];
    pixel[0] = red[i];
    pixel[1] = green[i];
    pixel[2] = blue[i];
    pixel[3] = 1.0f;
  }
  tile.count = 0;
}

}  // namespace

DFER_CLONES
void shade_row(const Scene& scene, const Triangles& triangles, const Raster& raster, const float* occlusion_row,
               int row, float* out) {
  Tile tile;
  std::memset(&tile, 0, sizeof tile);  // lanes past the count are computed too: keep them finite
  std::fill(out, out + 4 * static_cast<std::int64_t>(raster.width), 0.0f);
  const std::int64_t start = static_cast<std::int64_t>(row) * raster.width;
  for (int column = 0; column < raster.width; ++column) {
    if (raster.triangle[start + column] < 0) continue;
    gather(scene, triangles, raster, occlusion_row, start + column, column, tile);
    if (tile.count == kTile) flush(scene, tile, out);
  }
  flush(scene, tile, out);
}

}  // namespace dfer::synthesis
