// Value: one node of a parsed TOML document, with the place it stands at.
//
// It stands between the TOML library, which only conf/document.cc sees, and the
// schema. It owns everything below it. Nesting is bounded by kMaxNesting and
// kMaxKeyParts of conf/document.h, so recursion over it is safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "conf/config.h"

namespace sluice::conf {

struct Value {
  enum class Kind : uint8_t { boolean, integer, real, string, array, table, date };
  struct Member;

  Kind kind = Kind::table;
  Position position;  // its first character; of a table its header
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;  // also set for an integer
  std::string string;
  std::vector<Value> items;     // of an array
  std::vector<Member> members;  // of a table, sorted by key

  bool is_number() const { return kind == Kind::integer || kind == Kind::real; }
};

struct Value::Member {
  std::string key;
  Position position;  // of the key
  Value value;
};

// "a string", as an error message names what it found.
constexpr const char* describe(Value::Kind kind) {
  switch (kind) {
    case Value::Kind::boolean:
      return "a boolean";
    case Value::Kind::integer:
      return "an integer";
    case Value::Kind::real:
      return "a floating-point number";
    case Value::Kind::string:
      return "a string";
    case Value::Kind::array:
      return "an array";
    case Value::Kind::table:
      return "a table";
    case Value::Kind::date:
      return "a date or time";
  }
  return "a value";
}

}  // namespace sluice::conf
