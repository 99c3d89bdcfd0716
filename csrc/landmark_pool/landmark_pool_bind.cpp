#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <tuple>

#include "landmark_pool/landmark_pool_cpu.h"

namespace py = pybind11;

namespace {

using Array = py::array_t<float, py::array::c_style>;
using Gates = std::tuple<Array, Array, Array>;

void expect(bool holds, const char* what) {
  if (!holds) throw py::value_error(what);
}

void landmark_pool(const Array& features, const Array& points, float sigma, const std::optional<Gates>& gates,
                   bool norm_heat, Array& out, int threads) {
  expect(features.ndim() == 4 && points.ndim() == 3, "features [N, C, H, W] and landmarks [N, J, 2]");
  expect(points.shape(0) == features.shape(0) && points.shape(2) == 2, "landmarks [N, J, 2]");
  const dfer::LandmarkPool op{features.shape(0), features.shape(1), features.shape(2), features.shape(3),
                              points.shape(1),   sigma,             norm_heat};
  dfer::TripletGates pointers{nullptr, nullptr, nullptr};
  if (gates) {
    const auto& [over_channels, over_height, over_width] = *gates;
    expect(over_channels.size() == op.images * op.height * op.width, "gates over channels [N, H, W]");
    expect(over_height.size() == op.images * op.channels * op.width, "gates over height [N, C, W]");
    expect(over_width.size() == op.images * op.channels * op.height, "gates over width [N, C, H]");
    pointers = {over_channels.data(), over_height.data(), over_width.data()};
  }
  expect(out.size() == op.images * (op.landmarks + 1) * op.channels, "out [N, J + 1, C]");
  float* const result = out.mutable_data();
  const float *values = features.data(), *centres = points.data();
  py::gil_scoped_release released;
  dfer::landmark_pool(op, values, centres, pointers, result, threads);
}

}  // namespace

void bind_landmark_pool(py::module_& m) {
  m.def("landmark_pool", &landmark_pool, py::arg("features").noconvert(), py::arg("points").noconvert(),
        py::arg("sigma"), py::arg("gates").none(true), py::arg("norm_heat"), py::arg("out").noconvert(), py::arg("threads"));
}
