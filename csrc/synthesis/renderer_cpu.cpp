#include "synthesis/renderer.h"

#include <algorithm>
#include <cmath>

namespace dfer::synthesis {
namespace {

constexpr float kNothing = -1e9f;      // depth where nothing is drawn
constexpr float kBehind = -8.0f;       // cm: where ambient occlusion takes the background to be
constexpr float kShadowFloor = -13.0f; // cm: where a shadow map takes it to be; nearer means a lower variance
constexpr int kShadowSize = 144;
constexpr float kShadowReach = 15.0f;  // cm round the centre

void unit(float* v) {
  const float scale = 1.0f / std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + 1e-12f);
  for (int k = 0; k < 3; ++k) v[k] *= scale;
}

void turn(const float* rotation, const float* v, float* out) {
  for (int k = 0; k < 3; ++k) out[k] = rotation[3 * k] * v[0] + rotation[3 * k + 1] * v[1] + rotation[3 * k + 2] * v[2];
}

}  // namespace

void Renderer::pose(const Person& person, const float* weights, const View& view) {
  const auto floats = static_cast<std::size_t>(3 * person.vertex_count);
  vertices_.assign(person.vertices, person.vertices + floats);
  for (std::size_t k = 0; k + 1 < model_.shape_start.size(); ++k) {
    if (weights[k] == 0.0f) continue;
    const std::int64_t first = model_.shape_start[k];
    add_shape({model_.run_begin.data() + first, model_.run_length.data() + first, model_.shape_start[k + 1] - first,
               model_.delta.data() + model_.delta_start[k]},
              weights[k], vertices_.data());
  }
  const auto points = static_cast<std::size_t>(kPoint * person.vertex_count);
  world_.resize(points);
  normals_.resize(points);
  screen_.resize(points);
  rotate(vertices_.data(), person.vertex_count, view.rotation, view.centre, world_.data());
  vertex_normals(world_.data(), person.vertex_count, person.triangles.index, person.triangles.count, normals_.data());
  for (std::size_t v = 0; v < points / kPoint; ++v) {
    world_[kPoint * v + 3] = person.uv[2 * v];
    normals_[kPoint * v + 3] = person.uv[2 * v + 1];
  }
  project(world_.data(), person.vertex_count, view.camera, screen_.data());
}

void Renderer::place_eyes(const Person& person, const View& view, Eyes& eyes) const {
  Eye* both[2] = {&eyes.left, &eyes.right};
  for (int side = 0; side < 2; ++side) {
    float low[3] = {1e9f, 1e9f, 1e9f}, high[3] = {-1e9f, -1e9f, -1e9f};
    for (std::int32_t v = person.eye_range[2 * side]; v < person.eye_range[2 * side + 1]; ++v)
      for (int k = 0; k < 3; ++k) {
        low[k] = std::min(low[k], vertices_[3 * static_cast<std::size_t>(v) + k]);
        high[k] = std::max(high[k], vertices_[3 * static_cast<std::size_t>(v) + k]);
      }
    const float radius = std::max(0.5f * (high[0] - low[0]), 0.1f);
    float middle[3];
    // The sphere is cut at the back: its centre lies one radius behind the front.
    for (int k = 0; k < 3; ++k) middle[k] = (k == 2 ? high[2] - radius : 0.5f * (low[k] + high[k])) - view.centre[k];
    const float yaw = view.gaze[2 * side], pitch = view.gaze[2 * side + 1];
    const float gaze[3] = {std::sin(yaw) * std::cos(pitch), std::sin(pitch), std::cos(yaw) * std::cos(pitch)};
    const float up[3] = {-std::sin(yaw) * std::sin(pitch), std::cos(pitch), -std::cos(yaw) * std::sin(pitch)};
    turn(view.rotation, middle, both[side]->centre);
    turn(view.rotation, gaze, both[side]->gaze);
    turn(view.rotation, up, both[side]->up);
    if (side == 0) {
      eyes.cos_iris = std::sqrt(std::max(0.0f, 1.0f - std::pow(std::min(view.iris_radius / radius, 0.95f), 2.0f)));
      eyes.cos_pupil = std::sqrt(std::max(0.0f, 1.0f - std::pow(std::min(view.pupil_radius / radius, 0.9f), 2.0f)));
    }
  }
}

void Renderer::cast_shadow(const Person& person, const View& view, Lighting& light) {
  float* z = light.key.direction;
  unit(z);
  const float helper[3] = {std::fabs(z[1]) > 0.98f ? 1.0f : 0.0f, std::fabs(z[1]) > 0.98f ? 0.0f : 1.0f, 0.0f};
  float x[3] = {helper[1] * z[2] - helper[2] * z[1], helper[2] * z[0] - helper[0] * z[2],
                helper[0] * z[1] - helper[1] * z[0]};
  unit(x);
  const float y[3] = {z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0]};
  const float scale = kShadowSize / (2.0f * kShadowReach);
  for (int k = 0; k < 3; ++k) {
    light.shadow_basis[k] = scale * x[k];
    light.shadow_basis[3 + k] = scale * y[k];
    light.shadow_basis[6 + k] = z[k];
  }
  light.shadow_half = 0.5f * kShadowSize;
  light.shadow_size = kShadowSize;
  constexpr std::size_t texels = static_cast<std::size_t>(kShadowSize) * kShadowSize;
  shadow_.resize(6 * texels + kRowPad);
  float* depth = shadow_.data();
  float* mean = depth + texels + kRowPad;
  float* square = mean + texels;
  float* both = square + 2 * texels;
  std::fill(depth, depth + texels, kShadowFloor);
  // The scratch array is free until ambient occlusion; here it holds the vertices as the light sees them.
  std::vector<float>& plane = scratch_;
  plane.resize(static_cast<std::size_t>(kPoint * person.vertex_count));
  project_light(world_.data(), person.vertex_count, light.shadow_basis, light.shadow_half, plane.data());
  rasterise_depth(plane.data(), person.triangles, kShadowSize, depth);
  blur(depth, kShadowSize, kShadowSize, view.shadow_softness, square + texels, mean);
  for (std::size_t i = 0; i < texels; ++i) depth[i] *= depth[i];
  blur(depth, kShadowSize, kShadowSize, view.shadow_softness, square + texels, square);
  for (std::size_t i = 0; i < texels; ++i) {
    both[2 * i] = mean[i];
    both[2 * i + 1] = square[i];
  }
  light.shadow = both;
}

void Renderer::set_relief(const Person& person, const float* gains) {
  const auto channels = 4 * static_cast<std::size_t>(person.map_width) * static_cast<std::size_t>(person.map_height);
  if (relief_of_ != person.serial || relief_.size() != channels) {
    relief_.assign(person.relief, person.relief + channels);
    relief_of_ = person.serial;
  }
  add_relief(person.relief, person.patches, person.patch_data, gains, static_cast<int>(person.patch_count),
             person.map_width, relief_.data());
}

void Renderer::render(const Person& person, const float* weights, const float* relief_gains, const View& view,
                      const Surface* surfaces, SkinMaps skin, Eyes eyes, Lighting light, float* out) {
  const int side = 2 * view.size;
  const std::size_t pixels = static_cast<std::size_t>(side) * static_cast<std::size_t>(side);
  pose(person, weights, view);
  place_eyes(person, view, eyes);
  set_relief(person, relief_gains);
  skin.relief = relief_.data();
  if (light.shadow_strength > 0.0f) cast_shadow(person, view, light);

  const std::size_t plane = pixels + kRowPad;
  depth_.assign(plane, kNothing);
  triangle_.assign(plane, -1);
  weights_.resize(2 * plane);
  const Raster raster{side, side, depth_.data(), triangle_.data(), weights_.data(), weights_.data() + plane};
  rasterise(screen_.data(), person.triangles, surfaces, view.lash_keep, view.seed, raster);

  const std::size_t half = pixels / 4;
  scratch_.resize(3 * half);
  occlusion_.resize(half);
  const float* a = view.camera.affine;
  const float pixels_per_cm = 0.5f * std::sqrt(a[0] * a[0] + a[1] * a[1]);
  Occlusion settings = view.occlusion;
  settings.small_radius *= pixels_per_cm;
  settings.large_radius *= pixels_per_cm;
  ambient_occlusion(depth_.data(), side, side, kBehind, settings, scratch_.data(), occlusion_.data());

  const Scene scene{world_.data(), normals_.data(), person.colour, surfaces, skin, eyes, light, view.camera};
  rows_.resize(8 * static_cast<std::size_t>(side));
  for (int y = 0; y < view.size; ++y) {
    float* upper = rows_.data();
    float* lower = upper + 4 * side;
    const float* occlusion_row = occlusion_.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(view.size);
    shade_row(scene, person.triangles, raster, occlusion_row, 2 * y, upper);
    shade_row(scene, person.triangles, raster, occlusion_row, 2 * y + 1, lower);
    float* to = out + 4 * static_cast<std::size_t>(y) * static_cast<std::size_t>(view.size);
    for (int x = 0; x < view.size; ++x)
      for (int k = 0; k < 4; ++k)
        to[4 * x + k] = 0.25f * (upper[8 * x + k] + upper[8 * x + 4 + k] + lower[8 * x + k] + lower[8 * x + 4 + k]);
  }
}

}  // namespace dfer::synthesis
