#include "conf/document.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#define TOML_MAX_NESTED_VALUES 32
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace sluice::conf {
namespace {

static_assert(TOML_MAX_NESTED_VALUES == kMaxNesting);

// The library bounds the nesting of values, but not the parts of a dotted key:
// "a.a.a…" would nest as many tables, whose destruction recurses. So keys are
// measured beforehand: dots are counted outside of strings and comments, from
// one character that ends a key to the next. Where the text is no TOML this may
// see other strings than the library does, but only behind the library's error.
class KeyMeter {
 public:
  explicit KeyMeter(std::string_view text) : text_(text) {}

  // Where the first key of too many parts has its last dot.
  std::optional<size_t> find_endless_key() {
    size_t dots = 0;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"' || c == '\'') {
        skip_string(c);
        continue;
      }
      if (c == '#') at_ = std::min(text_.find('\n', at_), text_.size() - 1);
      if (c == '.' && ++dots >= kMaxKeyParts) return at_;
      if (std::string_view("#\n=,{[").find(c) != std::string_view::npos) dots = 0;
      ++at_;
    }
    return std::nullopt;
  }

 private:
  // A string ends at its quotes, three or one, or, of one quote, with the line.
  void skip_string(char quote) {
    const std::string fence(text_.substr(at_, 3) == std::string(3, quote) ? 3 : 1, quote);
    at_ += fence.size();
    while (at_ < text_.size() && text_.substr(at_, fence.size()) != fence) {
      if (text_[at_] == '\n' && fence.size() == 1) return;
      at_ += quote == '"' && text_[at_] == '\\' ? 2 : 1;
    }
    at_ += fence.size();
    // Up to two quotes may stand before a fence of three: """she said "so"""""
    for (int extra = 0; fence.size() == 3 && extra < 2 && at_ < text_.size() && text_[at_] == quote; ++extra)
      ++at_;
  }

  const std::string_view text_;
  size_t at_ = 0;
};

Position position_of(std::string_view text, size_t offset) {
  Position position{1, 1};
  for (const char c : text.substr(0, offset)) {
    const bool continues_character = (static_cast<unsigned char>(c) & 0xc0) == 0x80;
    if (c == '\n') {
      position = {position.line + 1, 1};
    } else if (!continues_character) {
      ++position.column;
    }
  }
  return position;
}

Position to_position(const toml::source_region& region) {
  return {region.begin.line, region.begin.column};
}

Value convert(const toml::node& node);

Value convert_table(const toml::table& table) {
  Value out;
  out.members.reserve(table.size());
  for (auto&& [key, node] : table) {
    out.members.push_back({std::string(key.str()), to_position(key.source()), convert(node)});
  }
  return out;
}

Value convert_array(const toml::array& array) {
  Value out;
  out.kind = Value::Kind::array;
  out.items.reserve(array.size());
  for (const toml::node& node : array) out.items.push_back(convert(node));
  return out;
}

Value convert(const toml::node& node) {
  Value out;
  if (const auto* table = node.as_table()) {
    out = convert_table(*table);
  } else if (const auto* array = node.as_array()) {
    out = convert_array(*array);
  } else if (const auto* text = node.as_string()) {
    out.kind = Value::Kind::string;
    out.string = text->get();
  } else if (const auto* integer = node.as_integer()) {
    out.kind = Value::Kind::integer;
    out.integer = integer->get();
    out.real = static_cast<double>(integer->get());
  } else if (const auto* real = node.as_floating_point()) {
    out.kind = Value::Kind::real;
    out.real = real->get();
  } else if (const auto* boolean = node.as_boolean()) {
    out.kind = Value::Kind::boolean;
    out.boolean = boolean->get();
  } else {
    out.kind = Value::Kind::date;
  }
  out.position = to_position(node.source());
  return out;
}

// The library writes sentences of its own; ours begin in lower case.
std::string message_of(const toml::parse_error& error) {
  std::string message(error.description());
  if (!message.empty() && message[0] >= 'A' && message[0] <= 'Z') {
    message[0] = static_cast<char>(message[0] - 'A' + 'a');
  }
  return message;
}

}  // namespace

std::variant<Value, Diagnostic> parse_document(std::string_view text) {
  if (text.size() > kMaxFileBytes) {
    return Diagnostic{{1, 1}, "the file is larger than 16 MiB, which no configuration should be", {}};
  }
  if (const std::optional<size_t> endless = KeyMeter(text).find_endless_key()) {
    return Diagnostic{
        position_of(text, *endless), "a key has more than " + std::to_string(kMaxKeyParts) + " parts", {}};
  }
  const toml::parse_result result = toml::parse(text);
  if (!result) return Diagnostic{to_position(result.error().source()), message_of(result.error()), {}};
  return convert(result.table());
}

}  // namespace sluice::conf
