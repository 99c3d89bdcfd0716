#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "winograd/winograd_cpu.h"

namespace py = pybind11;

namespace {

using Array = py::array_t<float, py::array::c_style>;

void expect(bool holds, const char* what) {
  if (!holds) throw py::value_error(what);
}

dfer::Winograd sizes(const Array& x, std::int64_t outputs) {
  expect(x.ndim() == 4, "x [N, H, W, C]");
  const dfer::Winograd op{x.shape(0), x.shape(1), x.shape(2), x.shape(3), outputs};
  expect(op.channels > 0 && op.channels % dfer::kWinogradBlock == 0, "channels in blocks of 64");
  expect(outputs > 0 && outputs % dfer::kWinogradBlock == 0, "outputs in blocks of 64");
  return op;
}

void winograd(const Array& x, const Array& weights, const Array& bias, Array& out, Array& scratch,
              int threads) {
  const dfer::Winograd op = sizes(x, bias.size());
  expect(weights.size() == 36 * op.channels * op.outputs, "weights [36, K / 64, C, 64]");
  expect(out.size() == op.images * op.height * op.width * op.outputs, "out [N, H, W, K]");
  expect(scratch.size() >= dfer::winograd_scratch(op, threads), "scratch of winograd_scratch() floats");
  const float *from = x.data(), *w = weights.data(), *b = bias.data();
  float *to = out.mutable_data(), *room = scratch.mutable_data();
  py::gil_scoped_release released;
  dfer::winograd(op, from, w, b, to, room, threads);
}

std::int64_t winograd_scratch(std::int64_t channels, std::int64_t outputs, int threads) {
  return dfer::winograd_scratch({1, 1, 1, channels, outputs}, threads);
}

}  // namespace

void bind_winograd(py::module_& m) {
  m.def("winograd", &winograd, py::arg("x").noconvert(), py::arg("weights").noconvert(), py::arg("bias").noconvert(),
        py::arg("out").noconvert(), py::arg("scratch").noconvert(), py::arg("threads"));
  m.def("winograd_scratch", &winograd_scratch, py::arg("channels"), py::arg("outputs"), py::arg("threads"));
}
