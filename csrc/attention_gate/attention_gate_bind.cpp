// Bindings of csrc/attention_gate: numpy buffers, the GIL released around the loops.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "attention_gate/attention_gate_cpu.h"

namespace py = pybind11;

namespace {

using Array = py::array_t<float, py::array::c_style>;

void expect(bool holds, const char* what) {
  if (!holds) throw py::value_error(what);
}

// Weights of a gate, taken in the order of kernels/attention_gate/rules.py.
class Reader {
 public:
  explicit Reader(const std::vector<Array>& arrays) : arrays_(arrays) {}

  dfer::GateMlp mlp(std::int64_t channels) {
    const Array &weight1 = next(), &bias1 = next(), &weight2 = next(), &bias2 = next();
    const std::int64_t hidden = bias1.size();
    expect(weight1.size() == hidden * channels && weight2.size() == hidden * channels && bias2.size() == channels,
           "MLP weights [R, C], [R], [C, R], [C]");
    return {weight1.data(), bias1.data(), weight2.data(), bias2.data(), hidden};
  }

  dfer::GateConv conv(std::int64_t in, std::int64_t kernel) {
    const Array &weight = next(), &bias = next();
    expect(weight.size() == bias.size() * in * kernel * kernel && bias.size() > 0, "convolution weights [O, I, k, k]");
    return {weight.data(), bias.data(), in, bias.size(), kernel};
  }

 private:
  const Array& next() {
    expect(at_ < arrays_.size(), "all weights of the gate");
    return arrays_[at_++];
  }
  const std::vector<Array>& arrays_;
  std::size_t at_ = 0;
};

void attention_gate(const Array& x, const std::string& kind, const std::vector<Array>& weights, bool pool, Array& out,
                    int threads) {
  expect(x.ndim() == 4, "x [N, C, H, W]");
  const std::int64_t images = x.shape(0);
  const dfer::GateShape shape{x.shape(1), x.shape(2), x.shape(3), pool};
  const std::int64_t in = shape.channels * shape.height * shape.width;
  const std::int64_t size = pool ? shape.channels * (shape.height / 2) * (shape.width / 2) : in;
  expect(out.size() == images * size, "out [N, C, H, W] or [N, C, H / 2, W / 2]");
  Reader reader(weights);
  const dfer::GateMlp first = reader.mlp(shape.channels);
  const dfer::GateMlp second = kind == "cbam" ? reader.mlp(shape.channels) : dfer::GateMlp{};
  const dfer::GateConv conv1 = kind == "agfer" ? reader.conv(1, 3) : kind == "cbam" ? reader.conv(2, 7) : dfer::GateConv{};
  const dfer::GateConv conv2 = kind == "agfer" ? reader.conv(conv1.out, 3) : dfer::GateConv{};
  const float* const source = x.data();
  float* const target = out.mutable_data();
  const py::gil_scoped_release released;
  for (std::int64_t n = 0; n < images; ++n) {
    if (kind == "agfer")
      dfer::ag_gate(shape, first, conv1, conv2, source + n * in, target + n * size, threads);
    else if (kind == "cbam")
      dfer::cbam_gate(shape, first, second, conv1, source + n * in, target + n * size, threads);
    else
      dfer::se_gate(shape, first, source + n * in, target + n * size, threads);
  }
}

}  // namespace

void bind_attention_gate(py::module_& m) {
  using namespace py::literals;
  m.def("attention_gate", &attention_gate, "x"_a.noconvert(), "kind"_a, "weights"_a, "pool"_a, "out"_a.noconvert(),
        "threads"_a);
}
