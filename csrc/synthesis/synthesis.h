// Loops of the face renderer, on raw pointers and sizes: no Python, no checks. Positions in cm, y up, z towards the
// viewer; image x to the right, y down; depth is larger when nearer. The order of a frame is in renderer.h.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/simd.h"
#include "common/width.h"

namespace dfer::synthesis {

// Points and normals of a frame are four floats apart, so that one load takes all of one.
constexpr int kPoint = 4;
using Quad = Lanes<16>;
using QuadIndex = LanesOf<16>::index;

DFER_INLINE float clamp01(float x) { return std::min(std::max(x, 0.0f), 1.0f); }

// Kind of surface of a triangle; each kind has a row in the material table of a frame. From kPlain on a vertex has its
// colour; skin and what comes from kCaster on (glasses, hair, cloth) throw shadows, what lies behind skin does not.
enum Material : std::uint8_t { kSkin = 0, kLeftEye = 1, kRightEye = 2, kLash = 3, kPlain = 4, kCaster = 7, kMaterials = 12 };

// How a kind of surface answers light.
struct Surface {
  float specular, shininess, wrap, double_sided;
};

// --- mesh -----------------------------------------------------------------------------------------------------------
// A blend shape as runs of consecutive vertices: delta has length[r] * 3 floats for each run r.
struct ShapeRuns {
  const std::int32_t* begin;
  const std::int32_t* length;
  std::int64_t runs;
  const float* delta;
};

void add_shape(const ShapeRuns& shape, float weight, float* vertices);

// Unit normals of vertices: the sum of the cross products of the triangles around each. From points to points, whose
// fourth number is left undefined.
void vertex_normals(const float* vertices, std::int64_t vertex_count, const std::int32_t* triangles,
                    std::int64_t triangle_count, float* normals);

// out = (in - centre) * rotation^T, row-major 3x3; from [count, 3] to points, whose fourth number stays.
void rotate(const float* in, std::int64_t count, const float* rotation, const float* centre, float* out);

struct Camera {
  float distance;   // cm from the centre of rotation to the eye point
  float affine[6];  // image plane (cm, y up) to pixels of the supersampled image: x' = a0 x + a1 y + a2, y' = a3 x + ...
};

// World to screen, points to points: x, y in pixels and depth in cm.
void project(const float* world, std::int64_t count, const Camera& camera, float* screen);

// World to a light's plane: orthographic, `basis` rows x, y, z in texels and cm, offset half the map.
void project_light(const float* world, std::int64_t count, const float* basis, float half, float* screen);

// --- raster ---------------------------------------------------------------------------------------------------------
struct Triangles {
  const std::int32_t* index;      // [count, 3], counter-clockwise from outside in world space
  const std::uint8_t* material;   // [count]
  std::int64_t count;
};

constexpr int kRowPad = 8;  // entries past the last pixel that a raster may rewrite

// What the z-buffer keeps of a pixel; each plane has width * height + kRowPad entries.
struct Raster {
  int width, height;
  float* depth;             // cleared to `far`
  std::int32_t* triangle;   // -1 where nothing is
  float* first;             // weight of the first corner
  float* second;            // weight of the second
};

// lash_keep: of 256 cells of a lash card, how many are drawn; which ones depends on seed only, so a clip keeps its lashes.
void rasterise(const float* screen, const Triangles& triangles, const Surface* surfaces, std::uint32_t lash_keep,
               std::uint32_t seed, const Raster& out);

// Depth alone, of what throws shadows; depth has size * size + kRowPad entries.
void rasterise_depth(const float* screen, const Triangles& triangles, int size, float* depth);

// --- maps -----------------------------------------------------------------------------------------------------------
// Gaussian blur of one channel, edges repeated. scratch: width * height floats.
void blur(const float* in, int width, int height, float sigma, float* scratch, float* out);

// Ambient occlusion from depth at half resolution, at two radii in pixels of that resolution.
struct Occlusion {
  float small_radius, small_gain, large_radius, large_gain;
};
void ambient_occlusion(const float* depth, int width, int height, float background, const Occlusion& settings,
                       float* scratch, float* out);

// Maps of skin have 16 bits a channel, so that less of the cache goes to them: shares of kTextureUnit and multiples of
// 1 / kReliefUnit, which go to 4. Slopes stay below 3, and a cavity above 3.5 is as dark as can be.
using Texels = std::int16_t;
constexpr float kTextureUnit = 32767.0f, kReliefUnit = 8191.0f;

// To the nearest, as far as it fits; without a call that the compiler could not put into vectors. NaN becomes -32767.
DFER_INLINE Texels rounded(float x) {
  const float positive = std::max(std::min(x, 32767.0f), -32767.0f) + 32768.5f;
  return static_cast<Texels>(static_cast<std::int32_t>(positive) - 32768);
}
void to_texels(const float* in, std::int64_t count, float unit, Texels* out);  // rounded(in * unit)

// Adds patches of relief (x slope, y slope, cavity, unused) to a map. First restores the patch from `base`.
struct ReliefPatch {
  std::int32_t x, y, width, height;
  std::int64_t offset;  // into data, in channels
};
void add_relief(const Texels* base, const ReliefPatch* patches, const Texels* data, const float* gains, int count,
                int map_width, Texels* map);

// texture += alpha * (colour * shade - texture) in the first three of four channels; shade null is 1 throughout.
void blend(const float* alpha, const float* shade, const float* colour, std::int64_t texels, float* texture);

// The same for the last layer, hair or cloth, to a map: colours end up from 0.002 to 1, the fourth channel is alpha.
void cover(const float* texture, const float* alpha, const float* shade, const float* colour, std::int64_t texels,
           Texels* out);

// --- paint ----------------------------------------------------------------------------------------------------------
// Adds gain times a grid of numbers, spread over the map by cubic interpolation.
void add_cloud(const float* grid, int rows, int columns, float gain, int width, int height, float* out);

// Noise moved round by so many texels, then mirrored, then blurred; sigma_x 0 blurs nothing.
struct NoiseDraw {
  int down, right;
  bool mirrored;
  float sigma_x, sigma_y;
};
// Adds gain times that noise; what is blurred is scaled back to unit variance.
void add_noise(const float* noise, int width, int height, const NoiseDraw& draw, float gain, float* out);

// Spots of skin: the tint of each in R, G, B times a function of x times one of y.
struct Spots {
  const float* down;    // [count, height]
  const float* across;  // [count, width]
  const float* tint;    // [3, count]
  int count;
};
// out[height, width, 4] = colour * blotches * (1 + tint of the spots), and 0.
void paint_skin(const float* blotches, int width, int height, const Spots& spots, const float* colour, float* out);

// Relief [height, width, 4] of heights and cavities: x slope, y slope (up), cavity, 0.
void slopes(const float* heights, const float* cavity, int width, int height, Texels* out);

// Relief of drawn lines: a sharp valley between two soft ridges.
void fold(const float* drawn, int width, int height, Texels* out);

// --- shading --------------------------------------------------------------------------------------------------------
struct Light {
  float direction[3], colour[3];
};

struct Lighting {
  Light key, fill, rim;
  float ambient[27];       // spherical harmonics of irradiance / pi, 9 x RGB
  float shadow_strength;   // 0 none, 1 full
  float shadow_basis[9];   // rows x, y in texels, z in cm
  float shadow_half;
  int shadow_size;
  const float* shadow;     // [shadow_size, shadow_size, 2]: mean depth, mean squared depth
  float occlusion_strength;
  float subsurface[3];         // how far light wraps round skin, RGB
};

struct Eye {
  float centre[3], gaze[3], up[3];
};

struct Eyes {
  Eye left, right;
  float sclera[3], iris[3], limbus;
  float cos_iris, cos_pupil;
};

struct SkinMaps {
  const Texels* texture;  // [height, width, 4]: linear RGB, share of hair
  const Texels* relief;   // [height, width, 4]: x slope, y slope, cavity, unused
  int width, height;
  float bump, cavity;
};

struct Scene {
  const float* world;    // points: cm, texture x
  const float* normals;  // points: unit vector, texture y
  const float* colour;   // [vertices, 4]: linear RGB, openness (1 open, 0 deep in the mouth)
  const Surface* surfaces;
  SkinMaps skin;
  Eyes eyes;
  Lighting light;
  Camera camera;
};

// One image row of the supersampled frame: linear RGB and coverage, 4 floats a pixel.
void shade_row(const Scene& scene, const Triangles& triangles, const Raster& raster, const float* occlusion_row,
               int row, float* out);

// --- film -----------------------------------------------------------------------------------------------------------
// Linear light to sRGB; film.py says what the numbers are.
struct Tone {
  float factor, curve, gamma;
  bool shoulder;
};

// linear: linear RGB times coverage, and coverage; background: sRGB; patch: a factor for each pixel of the face, or
// null.
void develop(const float* linear, const float* background, const float* patch, std::int64_t pixels, const Tone& tone,
             float* image);

// sRGB plus `amount` times noise of 0, 1 or 3 channels, to bytes.
void to_bytes(const float* image, const float* noise, int noise_channels, float amount, std::int64_t pixels,
              std::uint8_t* out);

}  // namespace dfer::synthesis
