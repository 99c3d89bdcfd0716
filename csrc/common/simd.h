// Vector width by the running CPU. A function marked DFER_CLONES is compiled for each level and resolved at load time.
#pragma once

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define DFER_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else  // aarch64: NEON is the baseline. musl has no ifunc.
#define DFER_CLONES
#endif

#define DFER_RESTRICT __restrict__
