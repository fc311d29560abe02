#include "balancer/fields.h"

#include <bit>
#include <cassert>

namespace sluice::balancer {
namespace {

constexpr char kNumber = 'n';
constexpr char kReal = 'r';
constexpr char kText = 't';

void append_little_endian(std::string& out, uint64_t value, int octets) {
  for (int i = 0; i < octets; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

uint64_t read_little_endian(std::string_view bytes, size_t octets) {
  assert(bytes.size() >= octets);
  uint64_t value = 0;
  for (size_t i = 0; i < octets; ++i) value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  return value;
}

std::string key_of(char type, std::string_view name) {
  std::string key(1, type);
  key += name;
  return key;
}

conf::Error cut_short() {
  return {conf::Error::Kind::invalid, conf::Error::Source::system, false,
          "A saved record ends in the middle of a field."};
}

}  // namespace

void append_u32(std::string& out, uint32_t value) {
  append_little_endian(out, value, 4);
}
void append_u64(std::string& out, uint64_t value) {
  append_little_endian(out, value, 8);
}
uint32_t read_u32(std::string_view bytes) {
  return static_cast<uint32_t>(read_little_endian(bytes, 4));
}
uint64_t read_u64(std::string_view bytes) {
  return read_little_endian(bytes, 8);
}

void FieldWriter::head(char type, std::string_view name) {
  assert(!name.empty() && name.size() <= 255);
  bytes_.push_back(type);
  bytes_.push_back(static_cast<char>(name.size()));
  bytes_ += name;
}

void FieldWriter::number(std::string_view name, uint64_t value) {
  head(kNumber, name);
  append_u64(bytes_, value);
}

void FieldWriter::real(std::string_view name, double value) {
  head(kReal, name);
  append_u64(bytes_, std::bit_cast<uint64_t>(value));
}

void FieldWriter::text(std::string_view name, std::string_view value) {
  head(kText, name);
  append_u32(bytes_, static_cast<uint32_t>(value.size()));
  bytes_ += value;
}

conf::Result<FieldReader> FieldReader::parse(std::string_view bytes) {
  FieldReader reader;
  while (!bytes.empty()) {
    if (bytes.size() < 2) return cut_short();
    const char type = bytes[0];
    const size_t name_size = static_cast<unsigned char>(bytes[1]);
    bytes.remove_prefix(2);
    if (bytes.size() < name_size) return cut_short();
    const std::string_view name = bytes.substr(0, name_size);
    bytes.remove_prefix(name_size);
    size_t value_size = 8;
    if (type == kText) {
      if (bytes.size() < 4) return cut_short();
      value_size = read_u32(bytes);
      bytes.remove_prefix(4);
    } else if (type != kNumber && type != kReal) {
      return conf::Error{conf::Error::Kind::invalid, conf::Error::Source::system, false,
                         "A saved record holds a field of an unknown type."};
    }
    if (bytes.size() < value_size) return cut_short();
    reader.values_[key_of(type, name)] = std::string(bytes.substr(0, value_size));
    bytes.remove_prefix(value_size);
  }
  return reader;
}

uint64_t FieldReader::number(std::string_view name, uint64_t fallback) const {
  const auto found = values_.find(key_of(kNumber, name));
  return found == values_.end() ? fallback : read_u64(found->second);
}

double FieldReader::real(std::string_view name, double fallback) const {
  const auto found = values_.find(key_of(kReal, name));
  return found == values_.end() ? fallback : std::bit_cast<double>(read_u64(found->second));
}

std::string FieldReader::text(std::string_view name) const {
  const auto found = values_.find(key_of(kText, name));
  return found == values_.end() ? std::string() : found->second;
}

}  // namespace sluice::balancer
