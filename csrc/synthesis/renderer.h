// One frame: shapes -> normals -> rotation -> z-buffer -> shadow map -> ambient occlusion -> shading -> half size.
#pragma once

#include <cstdint>
#include <vector>

#include "synthesis/synthesis.h"

namespace dfer::synthesis {

// What stays the same for all people.
struct Model {
  std::vector<std::int64_t> shape_start;  // runs of shape k: [k], [k + 1)
  std::vector<std::int32_t> run_begin, run_length;
  std::vector<std::int64_t> delta_start;  // first float of each shape, one more at the end
  std::vector<float> delta;
};

// What stays the same for one person; the pointers live as long as the caller keeps the arrays.
struct Person {
  std::uint64_t serial;  // its own for each person: the renderer keeps the relief of the last one
  const float* vertices;
  std::int64_t vertex_count;
  Triangles triangles;
  const float* uv;
  const float* colour;
  const Texels* texture;
  const Texels* relief;  // what is there at rest
  const ReliefPatch* patches;  // creases that a frame adds
  std::int64_t patch_count;
  const Texels* patch_data;
  int map_width, map_height;
  std::int32_t eye_range[4];  // first and last + 1 vertex of the left, then the right eyeball
};

struct View {
  int size;            // of the result; drawn at twice that
  float rotation[9];
  float centre[3];     // of rotation, cm
  Camera camera;
  float gaze[4];       // yaw and pitch in rad of the left, then the right eye; positive to +x and up
  float iris_radius, pupil_radius;  // cm
  std::uint32_t lash_keep, seed;
  float shadow_softness;  // texels
  Occlusion occlusion;    // radii in cm
};

class Renderer {
 public:
  explicit Renderer(Model model) : model_(std::move(model)) {}
  std::int64_t shapes() const { return static_cast<std::int64_t>(model_.shape_start.size()) - 1; }
  const Model& model() const { return model_; }

  // out: [size, size, 4] linear RGB times coverage, and coverage.
  void render(const Person& person, const float* weights, const float* relief_gains, const View& view,
              const Surface* surfaces, SkinMaps skin, Eyes eyes, Lighting light, float* out);

 private:
  void pose(const Person& person, const float* weights, const View& view);
  void place_eyes(const Person& person, const View& view, Eyes& eyes) const;
  void cast_shadow(const Person& person, const View& view, Lighting& light);
  void set_relief(const Person& person, const float* gains);

  Model model_;
  std::vector<float> vertices_, world_, normals_, screen_, depth_, weights_, shadow_, scratch_, occlusion_, rows_;
  std::vector<std::int32_t> triangle_;
  std::vector<Texels> relief_;
  std::uint64_t relief_of_ = 0;
};

}  // namespace dfer::synthesis
