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

void vertex_normals(const float* vertices, std::int64_t vertex_count, const std::int32_t* triangles,
                    std::int64_t triangle_count, float* normals) {
  std::fill(normals, normals + 3 * vertex_count, 0.0f);
  for (std::int64_t t = 0; t < triangle_count; ++t) {
    const std::int32_t* corner = triangles + 3 * t;
    const float* a = vertices + 3 * corner[0];
    const float* b = vertices + 3 * corner[1];
    const float* c = vertices + 3 * corner[2];
    const float e0 = b[0] - a[0], e1 = b[1] - a[1], e2 = b[2] - a[2];
    const float f0 = c[0] - a[0], f1 = c[1] - a[1], f2 = c[2] - a[2];
    const float n[3] = {e1 * f2 - e2 * f1, e2 * f0 - e0 * f2, e0 * f1 - e1 * f0};
    for (int k = 0; k < 3; ++k) {
      float* normal = normals + 3 * corner[k];
      normal[0] += n[0];
      normal[1] += n[1];
      normal[2] += n[2];
    }
  }
  for (std::int64_t v = 0; v < vertex_count; ++v) {
    float* n = normals + 3 * v;
    const float scale = 1.0f / (std::sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-12f);
    for (int k = 0; k < 3; ++k) n[k] *= scale;
  }
}

DFER_CLONES
void rotate(const float* DFER_RESTRICT in, std::int64_t count, const float* r, const float* centre,
            float* DFER_RESTRICT out) {
  for (std::int64_t v = 0; v < count; ++v) {
    const float x = in[3 * v] - centre[0], y = in[3 * v + 1] - centre[1], z = in[3 * v + 2] - centre[2];
    out[3 * v] = r[0] * x + r[1] * y + r[2] * z;
    out[3 * v + 1] = r[3] * x + r[4] * y + r[5] * z;
    out[3 * v + 2] = r[6] * x + r[7] * y + r[8] * z;
  }
}

DFER_CLONES
void project(const float* DFER_RESTRICT world, std::int64_t count, const Camera& camera, float* DFER_RESTRICT screen) {
  const float* a = camera.affine;
  for (std::int64_t v = 0; v < count; ++v) {
    const float scale = camera.distance / (camera.distance - world[3 * v + 2]);
    const float x = world[3 * v] * scale, y = world[3 * v + 1] * scale;
    screen[3 * v] = a[0] * x + a[1] * y + a[2];
    screen[3 * v + 1] = a[3] * x + a[4] * y + a[5];
    screen[3 * v + 2] = world[3 * v + 2];
  }
}

void project_light(const float* world, std::int64_t count, const float* basis, float half, float* screen) {
  const float origin[3] = {0.0f, 0.0f, 0.0f};
  rotate(world, count, basis, origin, screen);
  for (std::int64_t v = 0; v < count; ++v) {
    screen[3 * v] += half;
    screen[3 * v + 1] = half - screen[3 * v + 1];  // rows go down, so that the winding is the camera's
  }
}

}  // namespace dfer::synthesis
