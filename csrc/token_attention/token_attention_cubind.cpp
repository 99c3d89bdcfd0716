// Bindings of the CUDA form: addresses, sizes, device and stream. kernels/token_attention checks the arrays.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "common/cuda_launch.h"
#include "token_attention/token_attention_cuda.h"

namespace py = pybind11;

namespace {

using Address = std::uintptr_t;

// weights: A, c, classifier, its bias; shape: B, D, H, K
void token_attention(Address x, const std::array<Address, 4>& weights, const std::array<std::int64_t, 4>& shape,
                     bool softmax, int dtype, Address hidden, Address counter, Address out, int device, Address stream) {
  const dfer::DeviceGuard guard(device);
  const dfer::TokenShape sizes{shape[0], static_cast<int>(shape[1]), static_cast<int>(shape[2]),
                               static_cast<int>(shape[3]), softmax};
  const dfer::TokenArrays arrays{dfer::pointer_of<const void>(x),          dfer::pointer_of<const void>(weights[0]),
                                 dfer::pointer_of<const void>(weights[1]), dfer::pointer_of<const void>(weights[2]),
                                 dfer::pointer_of<const void>(weights[3]), dfer::pointer_of<float>(hidden),
                                 dfer::pointer_of<unsigned>(counter),      dfer::pointer_of<void>(out)};
  dfer::check(dfer::token_attention(sizes, arrays, static_cast<dfer::DType>(dtype), dfer::stream_of(stream)),
              "token_attention");
}

}  // namespace

void bind_token_attention(py::module_& m) {
  using namespace py::literals;
  m.def("token_attention", &token_attention, "x"_a, "weights"_a, "shape"_a, "softmax"_a, "dtype"_a, "hidden"_a,
        "counter"_a, "out"_a, "device"_a, "stream"_a);
}
