// Named values in a string of octets: what the journal keeps of a service or of
// a rollout. A reader takes what it knows by name and skips the rest, so that
// an older and a newer release read each other's records.
//
//   fields := field*
//   field  := type:u8  name_length:u8  name  value
//   type   'n'  value := u64 little endian
//          'r'  value := IEEE 754 double, as u64 little endian
//          't'  value := length:u32 little endian, octets
//
// Integrity is the journal's business; the reader only never runs past the end.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "conf/result.h"

namespace sluice::balancer {

// Little endian integers, as the formats of this folder use them.
void append_u32(std::string& out, uint32_t value);
void append_u64(std::string& out, uint64_t value);
// The caller has made sure that the octets are there.
uint32_t read_u32(std::string_view bytes);
uint64_t read_u64(std::string_view bytes);

class FieldWriter {
 public:
  // Names have 1 to 255 octets and are used once.
  void number(std::string_view name, uint64_t value);
  void real(std::string_view name, double value);
  void text(std::string_view name, std::string_view value);
  std::string take() { return std::move(bytes_); }

 private:
  void head(char type, std::string_view name);
  std::string bytes_;
};

class FieldReader {
 public:
  static conf::Result<FieldReader> parse(std::string_view bytes);

  // What has that name and type, or the fallback.
  uint64_t number(std::string_view name, uint64_t fallback = 0) const;
  double real(std::string_view name, double fallback = 0) const;
  std::string text(std::string_view name) const;

 private:
  // Numbers and reals as their eight octets, by type and name.
  std::map<std::string, std::string, std::less<>> values_;
};

}  // namespace sluice::balancer
