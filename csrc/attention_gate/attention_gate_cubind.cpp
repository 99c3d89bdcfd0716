// Bindings of the CUDA form: addresses, sizes, device and stream. kernels/attention_gate checks the arrays.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <vector>

#include "attention_gate/attention_gate_cuda.h"
#include "common/cuda_launch.h"

namespace py = pybind11;

namespace {

using Address = std::uintptr_t;
using Shape = std::array<std::int64_t, 7>;  // N, C, H, W, hidden units, CBAM's second, AGFER's hidden planes

dfer::GateSizes sizes_of(const Shape& shape, bool pool) {
  const auto number = [&](int at) { return static_cast<int>(shape[static_cast<std::size_t>(at)]); };
  return {shape[0], number(1), number(2), number(3), number(4), number(5), number(6), pool};
}

void attention_gate(Address x, int kind, const std::vector<Address>& weights, const Shape& shape, bool pool, int dtype,
                    Address scratch, Address out, int device, Address stream) {
  const dfer::DeviceGuard guard(device);
  dfer::GateArrays arrays{dfer::pointer_of<const void>(x), {}, dfer::pointer_of<float>(scratch),
                          dfer::pointer_of<void>(out)};
  if (weights.size() > 10) throw py::value_error("at most 10 weights");
  for (std::size_t i = 0; i < weights.size(); ++i) arrays.weights[i] = dfer::pointer_of<const void>(weights[i]);
  dfer::check(dfer::attention_gate(static_cast<dfer::GateKind>(kind), sizes_of(shape, pool), arrays,
                                   static_cast<dfer::DType>(dtype), dfer::stream_of(stream)),
              "attention_gate");
}

std::int64_t scratch(const Shape& shape) { return dfer::gate_scratch(sizes_of(shape, false)); }

}  // namespace

void bind_attention_gate(py::module_& m) {
  using namespace py::literals;
  m.def("attention_gate", &attention_gate, "x"_a, "kind"_a, "weights"_a, "shape"_a, "pool"_a, "dtype"_a, "scratch"_a,
        "out"_a, "device"_a, "stream"_a);
  m.def("attention_gate_scratch", &scratch, "shape"_a);
}
