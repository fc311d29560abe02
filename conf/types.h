// The types of configuration values: how each is read from a document, how it
// is written, and how the reference describes it.
//
// A type is a struct with
//   kInfo    its name and description;
//   read     sets `out` from a value, or reports to the context and leaves
//            `out` as it was; of lists of addresses and names the good items
//            are kept, so that they can be checked further;
//   write    the text that reads back to the same value, without the quotes
//            around a string; "" where there is nothing to write.
// Some types span several members and read into their owner as a whole. The
// schema binds types to members; nothing else uses this header. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conf/config.h"
#include "conf/diagnostic.h"
#include "conf/result.h"
#include "conf/value.h"

namespace sluice::conf {

struct TypeInfo {
  const char* name;
  const char* description;
  bool quoted = false;                     // the text is a TOML string
  std::string (*bound)(double) = nullptr;  // writes an end of a range
};

// What a number may be; in the type's unit. {0, 0} for types without a range.
struct Range {
  double min = 0;
  double max = 0;
  bool above_min = false;  // min itself is not allowed
  bool below_max = false;  // max itself is not allowed

  bool contains(double number) const {
    return (above_min ? number > min : number >= min) && (below_max ? number < max : number <= max);
  }
};
// "1ms to 1h"; for numbers also "above 0, up to 0.1" and "at least 0, below 1".
// Empty without a range.
std::string to_string(const Range& range, const TypeInfo& type);

// Where each key of the file was read, by its full path: "service.web.split",
// "listener[0].bind", "service.web.blue.endpoints[1]".
using Positions = std::map<std::string, Position>;

// What a read needs to know about the key it reads.
struct Context {
  const std::string& path;
  const Range& range;
  const TypeInfo& type;
  Diagnostics& diagnostics;
  Positions& positions;

  void fail(const Value& value, const std::string& message, std::string hint = {}) const;
  void fail_kind(const Value& value, const std::string& expected) const;
  // Takes the result, or reports its error at the value.
  template <typename T>
  std::optional<T> take(const Value& value, Result<T> result) const {
    if (result) return std::move(*result);
    fail(value, result.error().detail);
    return std::nullopt;
  }
  // The text of a string that is not empty and has no control characters.
  std::optional<std::string_view> text(const Value& value) const;
  // The index of the word among the known ones.
  std::optional<size_t> choice(const Value& value, std::span<const std::string_view> known) const;
  std::optional<double> in_range(const Value& value, double number) const;
  // The items of an array of at most kMaxItems.
  const std::vector<Value>* items(const Value& value) const;
  static constexpr size_t kMaxItems = 10000;
  static constexpr size_t kMaxTextBytes = 4096;
};

// Numbers are exact as doubles up to 2^53, above every range of the schema.
std::optional<double> read_count(const Value& value, const Context& context);
std::optional<double> read_size(const Value& value, const Context& context);

struct FlagType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, bool& out);
  static std::string write(bool flag) { return flag ? "true" : "false"; }
};

struct CountType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, uint32_t& out);
  static std::string write(uint32_t count) { return std::to_string(count); }
};

struct DurationType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, uint32_t& out_ms);
  static std::string write(uint32_t ms);
};

struct SizeType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, uint32_t& out_bytes);
  static void read(const Value& value, const Context& context, uint64_t& out_bytes);
  static std::string write(uint64_t bytes);
};

struct NumberType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, double& out);
  static std::string write(double number);
};

struct PercentType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, BasisPoints& out);
  static std::string write(BasisPoints share);
};

struct StepsType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::vector<BasisPoints>& out);
  static std::string write(const std::vector<BasisPoints>& steps);
};

struct TextType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::string& out);
  static std::string write(const std::string& text) { return text; }
};

struct SocketPathType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::string& out);
  static std::string write(const std::string& path) { return path; }
};

struct UrlType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::string& out);
  static std::string write(const std::string& url) { return url; }
};

// What is asked for in a request: begins with "/", may have a query.
struct RequestPathType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::string& out);
  static std::string write(const std::string& path) { return path; }
};

// A prefix that the path of a request can have, as clients send it.
struct RoutePathType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::string& out);
  static std::string write(const std::string& path) { return path; }
};

struct HostPatternType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::string& out);
  static std::string write(const std::string& host) { return host; }
};

// Host names without ports.
struct HostsType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::vector<std::string>& out);
  static std::string write(const std::vector<std::string>& hosts);
};

// A service's or a cap's name: 1 to 64 of A-Z a-z 0-9 _ -.
struct NameType {
  static const TypeInfo kInfo;
  static bool is_name(std::string_view text);
  static void read(const Value& value, const Context& context, std::string& out);
  static std::string write(const std::string& name) { return name; }
};

// What is listened on: never a name.
struct AddressType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, Address& out);
  static void read(const Value& value, const Context& context, std::optional<Address>& out);
  static std::string write(const Address& address) { return address.to_string(); }
  static std::string write(const std::optional<Address>& address) {
    return address ? address->to_string() : "";
  }
};

struct NetworksType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::vector<Network>& out);
  static std::string write(const std::vector<Network>& networks);
};

struct EndpointsType {
  static const TypeInfo kInfo;
  static constexpr uint32_t kMaxWeight = 1000;
  static void read(const Value& value, const Context& context, std::vector<Endpoint>& out);
  static std::string write(const std::vector<Endpoint>& endpoints);
};

struct BalanceType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, Balance& out);
  static std::string write(Balance balance);
};

struct StickyType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, Sticky& out);
  static std::string write(const Sticky& sticky);
};

// The name of the header; empty: off.
struct OverrideType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::string& out);
  static std::string write(const std::string& header);
};

struct ModeType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, uint32_t& out);
  static std::string write(uint32_t mode);
};

struct LogLevelType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::string& out);
  static std::string write(const std::string& level) { return level; }
};

struct TlsVersionType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::string& out);
  static std::string write(const std::string& version) { return version; }
};

struct StatusType {
  using Ranges = std::vector<std::pair<uint16_t, uint16_t>>;
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, Ranges& out);
  static std::string write(const Ranges& ranges);
};

struct RetryOnType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, Retry& out);
  static std::string write(const Retry& retry);
};

struct TripOnType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, Trip& out);
  static std::string write(const Trip& trip);
};

struct MembersType {
  static const TypeInfo kInfo;
  static void read(const Value& value, const Context& context, std::vector<Cap::Member>& out);
  static std::string write(const std::vector<Cap::Member>& members);
};

}  // namespace sluice::conf
