// JSON values as the admin side writes them: members keep their order, and text
// that is no UTF-8 is repaired rather than refused. Include it in .cc files
// only: the library is large.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace sluice::admin {

using Json = nlohmann::ordered_json;

inline std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// The members of an object without its braces.
inline std::string dump_members(const Json& object) {
  const std::string text = dump(object);
  return text.substr(1, text.size() - 2);
}

}  // namespace sluice::admin
