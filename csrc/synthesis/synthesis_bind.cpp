// numpy arrays in, numpy arrays out; checks what could read out of bounds, releases the GIL round a frame.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "synthesis/renderer.h"

namespace py = pybind11;

namespace dfer::synthesis {
namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style | py::array::forcecast>;
using Floats = Array<float>;

void need(bool fine, const char* what) {
  if (!fine) throw std::invalid_argument(what);
}

const float* floats(const Floats& array, py::ssize_t size, const char* name) {
  if (array.size() != size)
    throw std::invalid_argument(std::string(name) + ": expected " + std::to_string(size) + " numbers, got " +
                                std::to_string(array.size()));
  return array.data();
}

template <int N>
void copy(const Floats& array, const char* name, float* out) {
  const float* in = floats(array, N, name);
  for (int k = 0; k < N; ++k) out[k] = in[k];
}

// Converts nothing: a map of floats has other units.
using Map = py::array_t<Texels, py::array::c_style>;

// Keeps the arrays that a Person points into.
struct BoundPerson {
  Floats vertices, uv, colour;
  Map texture, relief, patch_data;
  std::vector<ReliefPatch> patches;
  Array<std::int32_t> triangles;
  Array<std::uint8_t> materials;
  Person person{};
};

BoundPerson make_person(Floats vertices, Array<std::int32_t> triangles, Array<std::uint8_t> materials, Floats uv,
                        Floats colour, Map texture, Map relief, const Array<std::int32_t>& eyes,
                        const Array<std::int32_t>& patches, Map patch_data) {
  static std::atomic<std::uint64_t> serial{0};
  need(vertices.ndim() == 2 && vertices.shape(1) == 3, "vertices: expected [V, 3]");
  const py::ssize_t count = vertices.shape(0);
  need(triangles.ndim() == 2 && triangles.shape(1) == 3, "triangles: expected [F, 3]");
  need(materials.size() == triangles.shape(0), "materials: expected one a triangle");
  need(uv.size() == 2 * count, "uv: expected [V, 2]");
  need(colour.size() == 4 * count, "colour: expected [V, 4]");
  need(texture.ndim() == 3 && texture.shape(2) == 4 && texture.shape(0) > 1 && texture.shape(1) > 1,
       "texture: expected [H, W, 4]");
  need(relief.size() == texture.size(), "relief: expected the shape of the texture");
  need(eyes.size() == 4, "eyes: expected 4 vertex indices");
  for (py::ssize_t i = 0; i < triangles.size(); ++i)
    need(triangles.data()[i] >= 0 && triangles.data()[i] < count, "triangles: an index without a vertex");
  for (py::ssize_t i = 0; i < materials.size(); ++i)
    need(materials.data()[i] < kMaterials, "materials: unknown number");
  for (int k = 0; k < 4; ++k) need(eyes.data()[k] >= 0 && eyes.data()[k] <= count, "eyes: an index without a vertex");
  BoundPerson bound{vertices, uv, colour, texture, relief, patch_data, {}, triangles, materials, {}};
  std::int64_t offset = 0;
  need(patches.size() % 4 == 0, "patches: expected [P, 4]");
  for (py::ssize_t n = 0; n < patches.size() / 4; ++n) {
    const std::int32_t* box = patches.data() + 4 * n;
    need(box[0] >= 0 && box[1] >= 0 && box[2] >= 0 && box[3] >= 0 && box[0] + box[2] <= texture.shape(1) &&
             box[1] + box[3] <= texture.shape(0),
         "patches: expected boxes x, y, width, height inside the texture");
    bound.patches.push_back({box[0], box[1], box[2], box[3], offset});
    offset += 4 * static_cast<std::int64_t>(box[2]) * box[3];
  }
  need(offset == patch_data.size(), "patch_data: expected 4 numbers a texel of each patch");
  Person& p = bound.person;
  p.serial = ++serial;
  p.vertices = bound.vertices.data();
  p.vertex_count = count;
  p.triangles = {bound.triangles.data(), bound.materials.data(), bound.triangles.shape(0)};
  p.uv = bound.uv.data();
  p.colour = bound.colour.data();
  p.texture = bound.texture.data();
  p.relief = bound.relief.data();
  p.patch_count = static_cast<std::int64_t>(bound.patches.size());
  p.patch_data = bound.patch_data.data();
  p.map_height = static_cast<int>(texture.shape(0));
  p.map_width = static_cast<int>(texture.shape(1));
  for (int k = 0; k < 4; ++k) p.eye_range[k] = eyes.data()[k];
  return bound;
}

Model make_model(const Array<std::int64_t>& shape_start, const Array<std::int32_t>& run_begin,
                 const Array<std::int32_t>& run_length, const Floats& delta) {
  Model model;
  need(shape_start.size() >= 1 && shape_start.data()[0] == 0, "shape_start: expected a leading 0");
  model.shape_start.assign(shape_start.data(), shape_start.data() + shape_start.size());
  model.run_begin.assign(run_begin.data(), run_begin.data() + run_begin.size());
  model.run_length.assign(run_length.data(), run_length.data() + run_length.size());
  need(model.run_begin.size() == model.run_length.size() &&
           model.shape_start.back() == static_cast<std::int64_t>(model.run_begin.size()),
       "runs: begin, length and shape_start disagree");
  model.delta.assign(delta.data(), delta.data() + delta.size());
  std::int64_t at = 0;
  for (std::size_t k = 0; k + 1 < model.shape_start.size(); ++k) {
    model.delta_start.push_back(at);
    need(model.shape_start[k] <= model.shape_start[k + 1], "shape_start: expected rising numbers");
    for (std::int64_t run = model.shape_start[k]; run < model.shape_start[k + 1]; ++run) {
      const auto r = static_cast<std::size_t>(run);
      need(model.run_begin[r] >= 0 && model.run_length[r] >= 0, "runs: negative");
      at += 3 * static_cast<std::int64_t>(model.run_length[r]);
    }
  }
  need(at == static_cast<std::int64_t>(model.delta.size()), "delta: expected 3 floats a vertex of each run");
  return model;
}

void check_fit(const Model& model, const Person& person) {
  for (std::size_t r = 0; r < model.run_begin.size(); ++r)
    need(model.run_begin[r] + static_cast<std::int64_t>(model.run_length[r]) <= person.vertex_count,
         "person: fewer vertices than the shapes move");
}

Floats render(Renderer& renderer, const BoundPerson& bound, const Floats& weights, const Floats& relief_gains, int size,
              const Floats& rotation, const Floats& centre, float distance, const Floats& affine, const Floats& gaze,
              const Floats& eye_radii, const Floats& eye_colours, int lash_keep, std::uint32_t seed,
              const Floats& surfaces, const Floats& skin, const Floats& lights, const Floats& ambient,
              const Floats& shadow, const Floats& occlusion) {
  need(size >= 1 && size <= 1024, "size: expected 1 to 1024 pixels");
  need(distance > 0.0f, "distance: expected a positive number");
  check_fit(renderer.model(), bound.person);
  View view{};
  view.size = size;
  view.seed = seed;
  view.lash_keep = static_cast<std::uint32_t>(lash_keep < 0 ? 0 : lash_keep);
  copy<9>(rotation, "rotation", view.rotation);
  copy<3>(centre, "centre", view.centre);
  copy<6>(affine, "affine", view.camera.affine);
  copy<4>(gaze, "gaze", view.gaze);
  view.camera.distance = distance;
  view.iris_radius = floats(eye_radii, 2, "eye_radii")[0];
  view.pupil_radius = eye_radii.data()[1];
  view.shadow_softness = floats(shadow, 2, "shadow")[1];
  const float* o = floats(occlusion, 5, "occlusion");
  view.occlusion = {o[0], o[1], o[2], o[3]};
  Eyes eyes{};
  const float* e = floats(eye_colours, 7, "eye_colours");
  for (int k = 0; k < 3; ++k) {
    eyes.sclera[k] = e[k];
    eyes.iris[k] = e[3 + k];
  }
  eyes.limbus = e[6];
  SkinMaps maps{bound.person.texture, bound.person.relief, bound.person.map_width, bound.person.map_height,
                floats(skin, 5, "skin")[0], skin.data()[1]};
  Lighting light{};
  const float* l = floats(lights, 18, "lights");
  Light* each[3] = {&light.key, &light.fill, &light.rim};
  for (int n = 0; n < 3; ++n)
    for (int k = 0; k < 3; ++k) {
      each[n]->direction[k] = l[6 * n + k];
      each[n]->colour[k] = l[6 * n + 3 + k];
    }
  copy<27>(ambient, "ambient", light.ambient);
  light.shadow_strength = shadow.data()[0];
  light.occlusion_strength = o[4];
  for (int k = 0; k < 3; ++k) light.subsurface[k] = skin.data()[2 + k];
  Surface table[kMaterials];
  const float* s = floats(surfaces, 4 * kMaterials, "surfaces");
  for (int m = 0; m < kMaterials; ++m) table[m] = {s[4 * m], s[4 * m + 1], s[4 * m + 2], s[4 * m + 3]};
  const float* shape_weights = floats(weights, renderer.shapes(), "weights");
  Person person = bound.person;
  person.patches = bound.patches.data();
  const float* gains = floats(relief_gains, bound.person.patch_count, "relief_gains");
  Floats out({static_cast<py::ssize_t>(size), static_cast<py::ssize_t>(size), static_cast<py::ssize_t>(4)});
  float* to = out.mutable_data();
  {
    py::gil_scoped_release release;
    renderer.render(person, shape_weights, gains, view, table, maps, eyes, light, to);
  }
  return out;
}

// [V, 3] as points (synthesis.h).
std::vector<float> points_of(const Floats& vertices) {
  std::vector<float> points(static_cast<std::size_t>(kPoint * vertices.shape(0)));
  for (py::ssize_t v = 0; v < vertices.shape(0); ++v)
    std::copy(vertices.data() + 3 * v, vertices.data() + 3 * v + 3, points.data() + kPoint * v);
  return points;
}

// Depth and triangle of each pixel, for tests and for tools that want the geometry alone.
py::tuple raster(const Floats& screen, const Array<std::int32_t>& triangles, int width, int height, bool both_sides) {
  need(screen.ndim() == 2 && screen.shape(1) == 3, "screen: expected [V, 3]");
  need(triangles.ndim() == 2 && triangles.shape(1) == 3, "triangles: expected [F, 3]");
  need(width >= 1 && height >= 1, "size: expected at least one pixel");
  for (py::ssize_t i = 0; i < triangles.size(); ++i)
    need(triangles.data()[i] >= 0 && triangles.data()[i] < screen.shape(0), "triangles: an index without a vertex");
  const std::size_t pixels = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  const std::size_t plane = pixels + kRowPad;
  std::vector<float> buffer(3 * plane, 0.0f);
  std::vector<std::int32_t> id(plane, -1);
  std::fill(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(plane), -1e9f);
  const std::vector<std::uint8_t> materials(static_cast<std::size_t>(triangles.shape(0)), kPlain);
  Surface surfaces[kMaterials] = {};
  surfaces[kPlain].double_sided = both_sides ? 1.0f : 0.0f;
  const Raster out{width, height, buffer.data(), id.data(), buffer.data() + plane, buffer.data() + 2 * plane};
  rasterise(points_of(screen).data(), {triangles.data(), materials.data(), triangles.shape(0)}, surfaces, 0, 0, out);
  Floats depth({height, width}), weights({height, width, 2});
  Array<std::int32_t> ids({height, width});
  for (std::size_t i = 0; i < pixels; ++i) {
    depth.mutable_data()[i] = out.depth[i];
    ids.mutable_data()[i] = out.triangle[i];
    weights.mutable_data()[2 * i] = out.first[i];
    weights.mutable_data()[2 * i + 1] = out.second[i];
  }
  return py::make_tuple(depth, ids, weights);
}

void blend_layer(py::array_t<float, py::array::c_style>& texture, const Floats& alpha, const Floats& colour,
                 const py::object& shade) {
  need(texture.ndim() == 3 && texture.shape(2) == 4, "texture: expected [H, W, 4]");
  const py::ssize_t texels = texture.shape(0) * texture.shape(1);
  floats(alpha, texels, "alpha");
  floats(colour, 3, "colour");
  const Floats shades = shade.is_none() ? Floats(0) : shade.cast<Floats>();
  if (!shade.is_none()) floats(shades, texels, "shade");
  blend(alpha.data(), shade.is_none() ? nullptr : shades.data(), colour.data(), texels, texture.mutable_data());
}

Map cover_with(const Floats& texture, const Floats& alpha, const Floats& colour, const Floats& shade) {
  need(texture.ndim() == 3 && texture.shape(2) == 4, "texture: expected [H, W, 4]");
  const py::ssize_t height = texture.shape(0), width = texture.shape(1), texels = height * width;
  Map out({height, width, py::ssize_t{4}});
  cover(texture.data(), floats(alpha, texels, "alpha"), floats(shade, texels, "shade"), floats(colour, 3, "colour"),
        texels, out.mutable_data());
  return out;
}

using Layer = py::array_t<float, py::array::c_style>;

void add_cloud_layer(Layer& out, const Floats& grid, float gain) {
  need(out.ndim() == 2 && grid.ndim() == 2 && grid.size() > 0, "out, grid: expected [H, W] and [rows, columns]");
  add_cloud(grid.data(), static_cast<int>(grid.shape(0)), static_cast<int>(grid.shape(1)), gain,
            static_cast<int>(out.shape(1)), static_cast<int>(out.shape(0)), out.mutable_data());
}

void add_noise_layer(Layer& out, const Floats& noise, int down, int right, bool mirrored, float sigma_x, float sigma_y,
                     float gain) {
  need(out.ndim() == 2 && noise.ndim() == 2 && out.shape(0) == noise.shape(0) && out.shape(1) == noise.shape(1),
       "out, noise: expected two of [H, W]");
  need(down >= 0 && down < out.shape(0) && right >= 0 && right < out.shape(1), "down, right: expected texels inside");
  need(sigma_x <= 0.0f || (sigma_x <= 64.0f && sigma_y > 0.0f && sigma_y <= 64.0f), "sigma: expected 0 to 64 texels");
  add_noise(noise.data(), static_cast<int>(out.shape(1)), static_cast<int>(out.shape(0)),
            {down, right, mirrored, sigma_x, sigma_y}, gain, out.mutable_data());
}

Floats skin_map(const Floats& blotches, const Floats& down, const Floats& across, const Floats& tint,
                const Floats& colour) {
  need(blotches.ndim() == 2 && tint.ndim() == 2 && tint.shape(0) == 3, "expected blotches [H, W] and tint [3, N]");
  const py::ssize_t height = blotches.shape(0), width = blotches.shape(1), count = tint.shape(1);
  const Spots spots{floats(down, count * height, "down"), floats(across, count * width, "across"), tint.data(),
                    static_cast<int>(count)};
  Floats out({height, width, py::ssize_t{4}});
  paint_skin(blotches.data(), static_cast<int>(width), static_cast<int>(height), spots, floats(colour, 3, "colour"),
             out.mutable_data());
  return out;
}

Map slopes_of(const Floats& heights, const Floats& cavity) {
  need(heights.ndim() == 2 && heights.size() > 0, "heights: expected [H, W]");
  Map out({heights.shape(0), heights.shape(1), py::ssize_t{4}});
  slopes(heights.data(), floats(cavity, heights.size(), "cavity"), static_cast<int>(heights.shape(1)),
         static_cast<int>(heights.shape(0)), out.mutable_data());
  return out;
}

Map fold_of(const Floats& drawn) {
  need(drawn.ndim() == 2 && drawn.size() > 0, "drawn: expected [H, W]");
  Map out({drawn.shape(0), drawn.shape(1), py::ssize_t{4}});
  fold(drawn.data(), static_cast<int>(drawn.shape(1)), static_cast<int>(drawn.shape(0)), out.mutable_data());
  return out;
}

Floats develop_frame(const Floats& linear, const Floats& background, const py::object& patch, float factor,
                     bool shoulder, float curve, float gamma) {
  need(linear.ndim() == 3 && linear.shape(2) == 4, "linear: expected [H, W, 4]");
  const py::ssize_t height = linear.shape(0), width = linear.shape(1), pixels = height * width;
  floats(background, 3 * pixels, "background");
  const Floats factors = patch.is_none() ? Floats(0) : patch.cast<Floats>();
  if (!patch.is_none()) floats(factors, pixels, "patch");
  Floats image({height, width, py::ssize_t{3}});
  develop(linear.data(), background.data(), patch.is_none() ? nullptr : factors.data(), pixels,
          {factor, curve, gamma, shoulder}, image.mutable_data());
  return image;
}

Array<std::uint8_t> bytes_of(const Floats& image, const py::object& noise, float amount) {
  need(image.ndim() == 3 && image.shape(2) == 3, "image: expected [H, W, 3]");
  const py::ssize_t height = image.shape(0), width = image.shape(1), pixels = height * width;
  const Floats grain = noise.is_none() ? Floats(0) : noise.cast<Floats>();
  need(grain.size() == 0 || grain.size() == pixels || grain.size() == 3 * pixels, "noise: expected [H, W, 1 or 3]");
  Array<std::uint8_t> out({height, width, py::ssize_t{3}});
  to_bytes(image.data(), grain.data(), static_cast<int>(grain.size() / pixels), amount, pixels, out.mutable_data());
  return out;
}

Floats normals_of(const Floats& vertices, const Array<std::int32_t>& triangles) {
  need(vertices.ndim() == 2 && vertices.shape(1) == 3, "vertices: expected [V, 3]");
  need(triangles.ndim() == 2 && triangles.shape(1) == 3, "triangles: expected [F, 3]");
  for (py::ssize_t i = 0; i < triangles.size(); ++i)
    need(triangles.data()[i] >= 0 && triangles.data()[i] < vertices.shape(0), "triangles: an index without a vertex");
  std::vector<float> normals(static_cast<std::size_t>(kPoint * vertices.shape(0)));
  vertex_normals(points_of(vertices).data(), vertices.shape(0), triangles.data(), triangles.shape(0), normals.data());
  Floats out({vertices.shape(0), vertices.shape(1)});
  for (py::ssize_t v = 0; v < vertices.shape(0); ++v)
    std::copy(normals.data() + kPoint * v, normals.data() + kPoint * v + 3, out.mutable_data() + 3 * v);
  return out;
}

}  // namespace

void bind(py::module_& m) {
  py::class_<BoundPerson>(m, "Person", "Mesh, colours and maps of one person, checked once.")
      .def(py::init(&make_person), py::arg("vertices"), py::arg("triangles"), py::arg("materials"), py::arg("uv"),
           py::arg("colour"), py::arg("texture").noconvert(), py::arg("relief").noconvert(), py::arg("eyes"),
           py::arg("patches"), py::arg("patch_data").noconvert());
  py::class_<Renderer>(m, "Renderer", "Shapes and relief patches of a model, and the buffers of a frame; one thread.")
      .def(py::init([](const Array<std::int64_t>& start, const Array<std::int32_t>& begin,
                       const Array<std::int32_t>& length, const Floats& delta) {
             return Renderer(make_model(start, begin, length, delta));
           }),
           py::arg("shape_start"), py::arg("run_begin"), py::arg("run_length"), py::arg("delta"))
      .def("render", &render, py::arg("person"), py::arg("weights"), py::arg("relief_gains"), py::kw_only(),
           py::arg("size"), py::arg("rotation"), py::arg("centre"), py::arg("distance"), py::arg("affine"),
           py::arg("gaze"), py::arg("eye_radii"), py::arg("eye_colours"), py::arg("lash_keep"), py::arg("seed"),
           py::arg("surfaces"), py::arg("skin"), py::arg("lights"), py::arg("ambient"), py::arg("shadow"),
           py::arg("occlusion"));
  m.def("raster", &raster, py::arg("screen"), py::arg("triangles"), py::arg("width"), py::arg("height"),
        py::arg("both_sides") = false);
  m.def("blend", &blend_layer, py::arg("texture").noconvert(), py::arg("alpha"), py::arg("colour"),
        py::arg("shade") = py::none());
  m.def("cover", &cover_with, py::arg("texture"), py::arg("alpha"), py::arg("colour"), py::arg("shade"));
  m.def("add_cloud", &add_cloud_layer, py::arg("out").noconvert(), py::arg("grid"), py::arg("gain"));
  m.def("add_noise", &add_noise_layer, py::arg("out").noconvert(), py::arg("noise"), py::kw_only(), py::arg("down"),
        py::arg("right"), py::arg("mirrored"), py::arg("sigma_x"), py::arg("sigma_y"), py::arg("gain"));
  m.def("skin", &skin_map, py::arg("blotches"), py::arg("down"), py::arg("across"), py::arg("tint"), py::arg("colour"));
  m.def("slopes", &slopes_of, py::arg("heights"), py::arg("cavity"));
  m.def("fold", &fold_of, py::arg("drawn"));
  m.def("develop", &develop_frame, py::arg("linear"), py::arg("background"), py::arg("patch"), py::kw_only(),
        py::arg("factor"), py::arg("shoulder"), py::arg("curve"), py::arg("gamma"));
  m.def("to_bytes", &bytes_of, py::arg("image"), py::arg("noise") = py::none(), py::arg("amount") = 0.0f);
  m.def("vertex_normals", &normals_of, py::arg("vertices"), py::arg("triangles"));
}

}  // namespace dfer::synthesis
