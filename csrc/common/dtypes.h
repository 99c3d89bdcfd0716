// Element types of outputs, numbered for the bindings: kernels/arrays.py's names in this order.
#pragma once

namespace dfer {

enum class DType : int { float32 = 0, float16 = 1, bfloat16 = 2 };

}  // namespace dfer
