// Bindings of csrc/token_attention: numpy buffers, the GIL released around the loops.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <vector>

#include "token_attention/token_attention_cpu.h"

namespace py = pybind11;

namespace {

using Array = py::array_t<float, py::array::c_style>;

void expect(bool holds, const char* what) {
  if (!holds) throw py::value_error(what);
}

dfer::Linear layer(const std::vector<Array>& weights, std::size_t at, std::int64_t in) {
  const Array &weight = weights[2 * at], &bias = weights[2 * at + 1];
  expect(weight.ndim() == 2 && weight.shape(1) == in && bias.size() == weight.shape(0), "weight [O, I] and bias [O]");
  return {weight.data(), bias.data(), in, weight.shape(0)};
}

void token_attention(const Array& x, const std::vector<Array>& weights, bool softmax, Array& out, int threads) {
  expect(x.ndim() == 2 && (weights.size() == 4 || weights.size() == 8), "x [B, D] and 4 or 8 weights");
  std::vector<dfer::Linear> layers;
  for (std::size_t at = 0; at < weights.size() / 2; ++at)
    layers.push_back(layer(weights, at, at ? layers.back().out : x.shape(1)));
  expect(out.size() == x.shape(0) * layers.back().out, "out [B, K]");
  expect(layers.size() == 2 || layers[1].out == x.shape(1), "an output projection onto the width of x");
  const float* const token = x.data();
  float* const scores = out.mutable_data();
  const std::int64_t batch = x.shape(0);
  const py::gil_scoped_release released;
  if (layers.size() == 2)
    dfer::token_attention(dfer::FoldedHead{layers[0], layers[1]}, token, batch, softmax, scores, threads);
  else
    dfer::token_attention(dfer::PrintedHead{layers[0], layers[1], layers[2], layers[3]}, token, batch, softmax, scores,
                          threads);
}

}  // namespace

void bind_token_attention(py::module_& m) {
  using namespace py::literals;
  m.def("token_attention", &token_attention, "x"_a.noconvert(), "weights"_a, "softmax"_a, "out"_a.noconvert(),
        "threads"_a);
}
