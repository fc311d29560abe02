// From TOML text to a tree of values with positions: the one door to the TOML
// library, so that its large header is compiled once.
//
// TOML 1.0 is read (toml.io/en/v1.0.0). The first syntax error ends reading, as
// what follows it could mean anything. Lines and columns count from 1, columns
// in characters. Any thread.
#pragma once

#include <cstddef>
#include <string_view>
#include <variant>

#include "conf/diagnostic.h"
#include "conf/value.h"

namespace sluice::conf {

inline constexpr size_t kMaxFileBytes = size_t{16} << 20;
// Arrays and inline tables within each other, and the parts of one dotted key.
// Together they bound the depth of a document, and with it all recursion.
inline constexpr size_t kMaxNesting = 32;
inline constexpr size_t kMaxKeyParts = 32;

std::variant<Value, Diagnostic> parse_document(std::string_view text);

}  // namespace sluice::conf
