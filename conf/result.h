// Result<T>: a value or an Error, for what the world can do to us.
//
// Asserts are for our own mistakes, results for the world's; nothing on the
// data path throws. The shape is Pingora's and Envoy's: an error says what kind
// it is, whose fault it is and whether trying again could help.
#pragma once

#include <cassert>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace sluice::conf {

struct Error {
  enum class Kind : uint8_t {
    invalid,      // the input breaks a rule
    not_found,    // a named thing does not exist
    conflict,     // a condition no longer holds (a generation moved on)
    refused,      // allowed in general, not in this state
    unavailable,  // no connection, no place, no endpoint
    timeout,
    io,        // the operating system said no
    internal,  // a bug of ours that was noticed
  };
  enum class Source : uint8_t { downstream, upstream, operator_, system, self };

  Kind kind = Kind::internal;
  Source source = Source::self;
  bool retryable = false;
  std::string detail;  // a whole sentence: what, where, what to do
};

constexpr const char* to_string(Error::Kind kind) {
  switch (kind) {
    case Error::Kind::invalid:
      return "invalid";
    case Error::Kind::not_found:
      return "not_found";
    case Error::Kind::conflict:
      return "conflict";
    case Error::Kind::refused:
      return "refused";
    case Error::Kind::unavailable:
      return "unavailable";
    case Error::Kind::timeout:
      return "timeout";
    case Error::Kind::io:
      return "io";
    case Error::Kind::internal:
      return "internal";
  }
  return "internal";
}

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT(google-explicit-constructor)
  Result(Error error)
      : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const {
    assert(!ok());
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

struct Done {};
using Status = Result<Done>;

}  // namespace sluice::conf
