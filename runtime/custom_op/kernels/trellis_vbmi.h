// What AVX-512 with VBMI does faster than the other loops: trellises.

#pragma once

#include "kernels.h"

namespace lighttoken {

// Kernel::decode_trellis for whole quads of rows. Returns false, and does nothing, for others.
bool decode_trellis_vbmi(const TrellisCodes& work);

// Kernel::multiply_trellis.
bool multiply_trellis_vbmi(const TrellisCodes& work, const std::uint8_t* latents,
                           std::int32_t* sums);

}  // namespace lighttoken
