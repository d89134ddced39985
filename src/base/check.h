// DEFIB_CHECK: our own mistakes end the process, in release builds too; the journal brings it back.
// What the world or the operator does wrong is a Result (base/result.h), never a check.
#pragma once

#include <cstdio>
#include <cstdlib>

#define DEFIB_CHECK(condition)                                                               \
  do {                                                                                       \
    if (!(condition)) [[unlikely]] {                                                         \
      std::fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)
