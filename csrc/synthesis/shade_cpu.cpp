#include <algorithm>
#include <cmath>
#include <cstring>

#include "synthesis/synthesis.h"

namespace dfer::synthesis {
namespace {

constexpr int kTile = 64;

// Covered pixels of a stretch of one row: what is gathered pixel by pixel, side by side in memory for each.
struct Gathered {
  int count;
  int column[kTile];
  std::int32_t triangle[kTile];
  float first[kTile], second[kTile];  // weights of its corners
  std::int32_t texel_at[kTile];       // upper left of the four that skin mixes
  float upper_left[kTile], upper_right[kTile], lower_left[kTile], lower_right[kTile];  // weights of the four
  float place[kTile][4];              // world, texture x
  float normal[kTile][4];             // not of unit length yet, texture y
  float texel[kTile][4];              // linear RGB, share of hair
  float relief[kTile][4];             // x slope, y slope, cavity, unused
  float surface[kTile][4];            // of Surface
  float open[kTile], unoccluded[kTile];
};

// What light_tile takes of the same pixels: an array an attribute.
struct Tile {
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


inline float smooth(float x) {
  x = clamp01(x);
  return x * x * (3.0f - 2.0f * x);
}

// Where skin and hair lie on their maps.
DFER_INLINE void find_texels(const SkinMaps& skin, int lanes, Gathered& tile) {
  const float right = static_cast<float>(skin.width) - 1.01f, bottom = static_cast<float>(skin.height) - 1.01f;
  for (int i = 0; i < lanes; ++i) {
    const float u = tile.place[i][3], v = tile.normal[i][3];
    const float column = std::min(std::max(u, 0.0f), right), row = std::min(std::max(v, 0.0f), bottom);
    const int x = static_cast<int>(column), y = static_cast<int>(row);
    const float fx = column - static_cast<float>(x), fy = row - static_cast<float>(y);
    tile.texel_at[i] = y * skin.width + x;
    tile.upper_left[i] = (1.0f - fx) * (1.0f - fy);
    tile.upper_right[i] = fx * (1.0f - fy);
    tile.lower_left[i] = (1.0f - fx) * fy;
    tile.lower_right[i] = fx * fy;
  }
  for (int i = 0; i < tile.count; ++i)
    for (const Texels* map : {skin.texture, skin.relief}) {
      __builtin_prefetch(map + 4 * tile.texel_at[i]);
      __builtin_prefetch(map + 4 * (tile.texel_at[i] + skin.width));
    }
}

// A texel and the next: their bits in the upper halves of integers, which convert to float at once.
DFER_INLINE void pair(const Texels* at, Quad& left, Quad& right) {
  typedef Texels Eight __attribute__((vector_size(16)));
  Eight both, zero = {};
  std::memcpy(&both, at, sizeof both);
  const Eight low = __builtin_shuffle(zero, both, Eight{0, 8, 1, 9, 2, 10, 3, 11});
  const Eight high = __builtin_shuffle(zero, both, Eight{4, 12, 5, 13, 6, 14, 7, 15});
  left = __builtin_convertvector((QuadIndex)low, Quad);
  right = __builtin_convertvector((QuadIndex)high, Quad);
}

// Texture and relief of skin and hair.
DFER_INLINE void sample_skin(const SkinMaps& skin, Gathered& tile, int i) {
  const auto bilinear = [&](const Texels* map, float unit, float* out) {
    Quad a, b, c, d;
    pair(map + 4 * tile.texel_at[i], a, b);
    pair(map + 4 * (tile.texel_at[i] + skin.width), c, d);
    const Quad mixed =
        tile.upper_left[i] * a + tile.upper_right[i] * b + tile.lower_left[i] * c + tile.lower_right[i] * d;
    store<16>(out, 1.0f / (65536.0f * unit) * mixed);
};
  bilinear(skin.texture, kTextureUnit, tile.texel[i]);
  bilinear(skin.relief, kReliefUnit, tile.relief[i]);
}

// Sclera with iris and pupil painted by the angle to the gaze.
DFER_INLINE void shade_eye(const Eyes& eyes, const Eye& eye, Gathered& tile, int i) {
  float d[3];
  for (int k = 0; k < 3; ++k) d[k] = tile.place[i][k] - eye.centre[k];
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
    tile.texel[i][k] = white * (1.0f - iris) + (coloured * (1.0f - pupil) + 0.008f * pupil) * iris;
  }
}

// Corners of the pixels' triangles mixed. A loop of its own: the shorter it is, the more pixels wait for memory at
// once.
DFER_INLINE void mix(const Scene& scene, const Triangles& triangles, Gathered& tile) {
  for (int i = 0; i < tile.count; ++i) {
    const std::int32_t* corner = triangles.index + 3 * static_cast<std::int64_t>(tile.triangle[i]);
    const float wa = tile.first[i], wb = tile.second[i], wc = 1.0f - wa - wb;
    const auto of = [&](const float* values, float* out) {
      Quad a, b, c;
      load<16>(a, values + kPoint * static_cast<std::int64_t>(corner[0]));
      load<16>(b, values + kPoint * static_cast<std::int64_t>(corner[1]));
      load<16>(c, values + kPoint * static_cast<std::int64_t>(corner[2]));
      store<16>(out, wa * a + wb * b + wc * c);
    };
    of(scene.world, tile.place[i]);
    of(scene.normals, tile.normal[i]);
    of(scene.colour, tile.texel[i]);
  }
}

// What each material samples.
DFER_INLINE void sample(const Scene& scene, const Triangles& triangles, Gathered& tile) {
  for (int i = 0; i < tile.count; ++i) {
    tile.open[i] = tile.texel[i][3];
    const std::uint8_t material = triangles.material[tile.triangle[i]];
    std::memcpy(tile.surface[i], &scene.surfaces[material], sizeof tile.surface[i]);
    if (material == kSkin) {
      sample_skin(scene.skin, tile, i);
      continue;
    }
    tile.texel[i][3] = 0.0f;
    std::memset(tile.relief[i], 0, sizeof tile.relief[i]);
    if (material == kLeftEye || material == kRightEye)
      shade_eye(scene.eyes, material == kLeftEye ? scene.eyes.left : scene.eyes.right, tile, i);
  }
}

// Faces the viewer where both sides are seen, and adds the bumps: tangents of the cylinder that the texture unwraps,
// made orthogonal to the normal.
DFER_INLINE void bump(const Scene& scene, const Gathered& in, int lanes, Tile& out) {
  for (int i = 0; i < lanes; ++i) {
    const float x = in.place[i][0], y = in.place[i][1], z = in.place[i][2];
    float n0 = in.normal[i][0], n1 = in.normal[i][1], n2 = in.normal[i][2];
    const float away = n0 * -x + n1 * -y + n2 * (scene.camera.distance - z);
    float scale = 1.0f / std::sqrt(n0 * n0 + n1 * n1 + n2 * n2 + 1e-12f);
    scale = (in.surface[i][3] > 0.0f) & (away < 0.0f) ? -scale : scale;
    n0 *= scale;
    n1 *= scale;
    n2 *= scale;
    const float bare = 1.0f - in.texel[i][3];
    const float strength = scene.skin.bump * bare;
    const float level = 1.0f / std::sqrt(n2 * n2 + n0 * n0 + 1e-12f), t0 = n2 * level, t2 = -n0 * level;
    const float across = strength * in.relief[i][0], up = strength * in.relief[i][1];
    const float m0 = n0 - (across * t0 + up * (n1 * t2));
    const float m1 = n1 - up * (n2 * t0 - n0 * t2);
    const float m2 = n2 - (across * t2 - up * (n1 * t0));
    const float unit = 1.0f / std::sqrt(m0 * m0 + m1 * m1 + m2 * m2 + 1e-12f);
    out.nx[i] = m0 * unit;
    out.ny[i] = m1 * unit;
    out.nz[i] = m2 * unit;
    out.px[i] = x;
    out.py[i] = y;
    out.pz[i] = z;
    const float hollow = std::max(0.3f, 1.0f - scene.skin.cavity * bare * in.relief[i][2]);
    for (int k = 0; k < 3; ++k) out.albedo[k][i] = in.texel[i][k] * hollow;
    out.specular[i] = in.surface[i][0] * (0.35f + 0.65f * bare) * hollow;
    out.shininess[i] = in.surface[i][1];
    out.wrap[i] = in.surface[i][2] * (0.3f + 0.7f * bare);
    const float occluded = scene.light.occlusion_strength * (1.0f - in.unoccluded[i]);
    out.open[i] = in.open[i] * std::max(0.05f, 1.0f - occluded);
  }
}

// Lit share of the key light: mean and variance of the depth round the texel bound it from above (Chebyshev), so
// that the shadow's edge is as soft as the maps were blurred.
DFER_INLINE void shadow(const Lighting& light, int lanes, Tile& tile) {
  float fx[kTile], fy[kTile], behind[kTile], between[kTile][4];
  int texel[kTile];
  const float* b = light.shadow_basis;
  const float edge = static_cast<float>(light.shadow_size) - 1.01f;
  for (int i = 0; i < lanes; ++i) {
    const float x = tile.px[i], y = tile.py[i], z = tile.pz[i];
    const float sx = b[0] * x + b[1] * y + b[2] * z + light.shadow_half - 0.5f;
    const float sy = light.shadow_half - (b[3] * x + b[4] * y + b[5] * z) - 0.5f;
    const float column = std::min(std::max(sx, 0.0f), edge), row = std::min(std::max(sy, 0.0f), edge);
    const int ix = static_cast<int>(column), iy = static_cast<int>(row);
    fx[i] = column - static_cast<float>(ix);
    fy[i] = row - static_cast<float>(iy);
    texel[i] = iy * light.shadow_size + ix;
    // cm behind a mean depth of 0; the bias keeps a surface from shading itself. Outside the map, however little, all
    // is lit.
    const float outside = std::fabs(sx - column) + std::fabs(sy - row);
    behind[i] = -(b[6] * x + b[7] * y + b[8] * z) - 0.12f - 1e9f * outside;
  }
  for (int i = 0; i < lanes; ++i) {
    const float* upper = light.shadow + 2 * texel[i];
    const float* lower = upper + 2 * light.shadow_size;
    Quad above, below;  // mean and square of one texel, then of the next
    load<16>(above, upper);
    load<16>(below, lower);
    store<16>(between[i], (1.0f - fy[i]) * above + fy[i] * below);
  }
  for (int i = 0; i < lanes; ++i) {
    const float mean = (1.0f - fx[i]) * between[i][0] + fx[i] * between[i][2];
    const float square = (1.0f - fx[i]) * between[i][1] + fx[i] * between[i][3];
    const float depth = std::max(mean + behind[i], 0.0f);
    const float variance = std::max(square - mean * mean, 0.02f);
    const float bound = variance / (variance + depth * depth);
    const float share = clamp01((bound - 0.2f) * 1.25f);  // the low end of the bound is light leaking through
    tile.lit[i] = 1.0f - light.shadow_strength * (1.0f - share);
  }
}

// h^n for h in 0..1: exp(n ln h), the logarithm to second order and the exponential by squaring.
inline float gloss(float h, float n) {
  const float short_of = 1.0f - h;
  float e = std::max(0.0f, 1.0f - n * (short_of + 0.5f * short_of * short_of) * (1.0f / 64.0f));
  for (int k = 0; k < 6; ++k) e *= e;
  return e;
}

DFER_INLINE void light_tile(const Lighting& light, float distance, const Tile& tile, int lanes,
                            float* DFER_RESTRICT red, float* DFER_RESTRICT green, float* DFER_RESTRICT blue) {
  float* const out[3] = {red, green, blue};
  float highlight[kTile], fill_highlight[kTile], key[kTile], fill[kTile], rim[kTile];
  const float* kd = light.key.direction;
  const float* fd = light.fill.direction;
  const float* rd = light.rim.direction;
  for (int i = 0; i < lanes; ++i) {
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
    for (int i = 0; i < lanes; ++i) {
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

DFER_INLINE void flush(const Scene& scene, const Triangles& triangles, Gathered& gathered, float* out) {
  if (gathered.count == 0) return;
  Tile tile;
  float red[kTile], green[kTile], blue[kTile];
  const int lanes = (gathered.count + 15) / 16 * 16;  // whole vectors
  mix(scene, triangles, gathered);
  find_texels(scene.skin, lanes, gathered);
  sample(scene, triangles, gathered);
  bump(scene, gathered, lanes, tile);
  if (scene.light.shadow_strength > 0.0f)
    shadow(scene.light, lanes, tile);
  else
    std::fill(tile.lit, tile.lit + lanes, 1.0f);
  light_tile(scene.light, scene.camera.distance, tile, lanes, red, green, blue);
  for (int i = 0; i < gathered.count; ++i) {
    const Quad pixel = {red[i], green[i], blue[i], 1.0f};
    store<16>(out + 4 * gathered.column[i], pixel);
  }
  gathered.count = 0;
}

}  // namespace

DFER_CLONES
void shade_row(const Scene& scene, const Triangles& triangles, const Raster& raster, const float* occlusion_row,
               int row, float* out) {
  Gathered tile;
  std::memset(&tile, 0, sizeof tile);  // lanes past the count are computed too: keep them finite
  std::fill(out, out + 4 * static_cast<std::int64_t>(raster.width), 0.0f);
  const std::int64_t start = static_cast<std::int64_t>(row) * raster.width;
  for (int column = 0; column < raster.width; ++column) {
    if (raster.triangle[start + column] < 0) continue;
    const int i = tile.count++;
    tile.column[i] = column;
    tile.triangle[i] = raster.triangle[start + column];
    tile.first[i] = raster.first[start + column];
    tile.second[i] = raster.second[start + column];
    tile.unoccluded[i] = occlusion_row[column / 2];
    if (tile.count == kTile) flush(scene, triangles, tile, out);
  }
  flush(scene, triangles, tile, out);
}

}  // namespace dfer::synthesis
