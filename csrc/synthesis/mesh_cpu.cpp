#include <algorithm>
#include <cmath>

#include "synthesis/synthesis.h"

namespace dfer::synthesis {

DFER_CLONES
void add_shape(const ShapeRuns& shape, float weight, float* vertices) {
  const float* delta = shape.delta;
  for (std::int64_t run = 0; run < shape.runs; ++run) {
    float* DFER_RESTRICT out = vertices + 3 * static_cast<std::int64_t>(shape.begin[run]);
    const std::int64_t floats = 3 * static_cast<std::int64_t>(shape.length[run]);
    for (std::int64_t i = 0; i < floats; ++i) out[i] += weight * delta[i];
    delta += floats;
  }
}

DFER_CLONES
void vertex_normals(const float* points, std::int64_t count, const std::int32_t* triangles,
                    std::int64_t triangle_count, float* normals) {
  std::fill(normals, normals + kPoint * count, 0.0f);
  const QuadIndex next = {1, 2, 0, 3};
  for (std::int64_t t = 0; t < triangle_count; ++t) {
    const std::int32_t* corner = triangles + 3 * t;
    Quad a, b, c;
    load<16>(a, points + kPoint * static_cast<std::int64_t>(corner[0]));
    load<16>(b, points + kPoint * static_cast<std::int64_t>(corner[1]));
    load<16>(c, points + kPoint * static_cast<std::int64_t>(corner[2]));
    const Quad e = b - a, f = c - a;
    const Quad cross = e * __builtin_shuffle(f, next) - __builtin_shuffle(e, next) * f;  // z, x, y
    const Quad n = __builtin_shuffle(cross, next);
    for (int k = 0; k < 3; ++k) {
      float* normal = normals + kPoint * static_cast<std::int64_t>(corner[k]);
      Quad sum;
      load<16>(sum, normal);
      store<16>(normal, sum + n);
    }
  }
  for (std::int64_t v = 0; v < count; ++v) {
    float* n = normals + kPoint * v;
    const float scale = 1.0f / (std::sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-12f);
    for (int k = 0; k < 3; ++k) n[k] *= scale;
  }
}

DFER_CLONES
void rotate(const float* DFER_RESTRICT in, std::int64_t count, const float* r, const float* centre,
            float* DFER_RESTRICT out) {
  for (std::int64_t v = 0; v < count; ++v) {
    const float x = in[3 * v] - centre[0], y = in[3 * v + 1] - centre[1], z = in[3 * v + 2] - centre[2];
    float* point = out + kPoint * v;
    point[0] = r[0] * x + r[1] * y + r[2] * z;
    point[1] = r[3] * x + r[4] * y + r[5] * z;
    point[2] = r[6] * x + r[7] * y + r[8] * z;
  }
}

DFER_CLONES
void project(const float* DFER_RESTRICT world, std::int64_t count, const Camera& camera, float* DFER_RESTRICT screen) {
  const float* a = camera.affine;
  for (std::int64_t v = 0; v < count; ++v) {
    const float* in = world + kPoint * v;
    float* out = screen + kPoint * v;
    const float scale = camera.distance / (camera.distance - in[2]);
    const float x = in[0] * scale, y = in[1] * scale;
    out[0] = a[0] * x + a[1] * y + a[2];
    out[1] = a[3] * x + a[4] * y + a[5];
    out[2] = in[2];
    out[3] = 0.0f;
  }
}

DFER_CLONES
void project_light(const float* DFER_RESTRICT world, std::int64_t count, const float* b, float half,
                   float* DFER_RESTRICT screen) {
  for (std::int64_t v = 0; v < count; ++v) {
    const float* in = world + kPoint * v;
    float* out = screen + kPoint * v;
    out[0] = half + (b[0] * in[0] + b[1] * in[1] + b[2] * in[2]);
    out[1] = half - (b[3] * in[0] + b[4] * in[1] + b[5] * in[2]);  // rows go down, so that the winding is the camera's
    out[2] = b[6] * in[0] + b[7] * in[1] + b[8] * in[2];
    out[3] = 0.0f;
  }
}

}  // namespace dfer::synthesis
